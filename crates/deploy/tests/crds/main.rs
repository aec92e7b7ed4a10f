//! The custom resources on a real API server: what it accepts, fills in, refuses and prints.

mod apply;
mod columns;
mod lab;
mod rules;
mod stored;
