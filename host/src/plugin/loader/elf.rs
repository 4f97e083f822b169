//! What a library file says of itself, read without running any of it.
