//! The legacy parameters of the same API version, translated into expression trees.
