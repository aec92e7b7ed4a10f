//! The rights of the controller: exactly what it needs.

mod rules;
mod scenario;
