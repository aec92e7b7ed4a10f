//! What decisions cost as a lab grows, and how good they are over a day.
//!
//! `cargo xtask bench scheduler`; everything happens in one thread and in memory, without a store.

#![expect(clippy::print_stdout, reason = "a report for people")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures of a report, far below what a float holds"
)]

mod ahead;
mod day;
mod events;
mod fairness;
mod faulty;
mod growth;
mod kit;
mod objects;
mod queue;

fn main() {
    println!(
        "One event in a lab of 50 boards a kind, 100 leases a kind (10 run, 40 wait, 50 have ended), one policy a kind."
    );
    println!("The last column relates each lab to the smallest of the same run.\n");
    events::report();
    println!("\nOne freed device, given to the first of a queue that everybody stands in.\n");
    queue::report();
    println!("\nA lab in which each exporter is leased, has 5 reservations and 2 of 20 recurring windows ahead.\n");
    ahead::report();
    println!("\nA day of 200 boards in 10 kinds and 40 people, at three loads.\n");
    day::report();
    println!("\nThe same day with faulty boards; whoever meets one asks again.\n");
    faulty::report();
    println!("\nA day of 40 boards, of which 6 teams want 8, 16, … 48: dealt out by age and by share.\n");
    fairness::report();
    println!("\nOne freed device in a lab of 50 boards, 4 teams and 20 waiting leases a kind, with quotas.\n");
    fairness::cost();
}
