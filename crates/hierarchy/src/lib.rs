//! Composes cache layers and a builder into one cache that fills itself.
