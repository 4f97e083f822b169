//! The host's side of the boundary in miniature.
