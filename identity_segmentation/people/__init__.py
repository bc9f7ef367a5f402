"""Who is it? The people on file, how photos become references, and when a face or a track is given a name."""
