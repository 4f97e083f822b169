//! The exported declaration of a module: compared with what this server speaks, and copied out.
