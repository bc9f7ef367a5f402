"""Mark a few, label thousands: marks, the jobs that learn from them, and exports that other tools read."""
