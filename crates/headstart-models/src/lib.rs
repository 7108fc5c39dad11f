//! Architectures, their registry and pre-trained weights.
