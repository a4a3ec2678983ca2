//! Actors: what runs beside each other and is told, never called.

pub mod store;
