"""`echoup diagnose`: what is wrong with a path, and where."""
