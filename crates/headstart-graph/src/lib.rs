//! A network as a value: ops, parameters, freezing, inference and training.
