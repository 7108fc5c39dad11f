//! A pickle reader that builds plain values and runs nothing.
