//! The programs as the chart starts them: with its arguments, its environment, and exactly its rights.

mod arguments;
mod rules;
mod scenario;
