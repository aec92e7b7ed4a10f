//! The scheduler against a lab on paper.

mod assignment;
mod explain;
mod kit;
mod lifecycle;
mod order;
mod policies;
mod readiness;
mod repairs;
mod sequences;
mod transitions;
mod waiting;
