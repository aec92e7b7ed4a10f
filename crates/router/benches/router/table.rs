//! One table of everything.

use crate::subject::Kind;

/// One thing that was measured.
pub struct Row {
    pub what: String,
    /// Of what, for a person: `MB/CPU-s`.
    pub unit: &'static str,
    pub values: Vec<(Kind, f64)>,
    pub aim: &'static str,
}

pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    pub fn new() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a row, and shows that something goes on.
    pub fn add(&mut self, row: Row) {
        eprintln!("{}", line(&row));
        self.rows.push(row);
    }

    pub fn print(&self) {
        println!(
            "{:<50} {:>12} {:>10} {:>14} {:>14} {:>14} {:>14}  aim",
            "what", "unit", "router", "/ (a) TCP", "/ (b) TLS", "/ (c) decoding", "/ (d) peer"
        );
        for row in &self.rows {
            println!("{}", line(row));
        }
    }
}

fn line(row: &Row) -> String {
    let value = |kind| row.values.iter().find(|(of, _)| *of == kind).map(|(_, value)| *value);
    let router = value(Kind::Router).unwrap_or(f64::NAN);
    let against = |kind| match value(kind) {
        Some(value) => format!("{:>6.2} ({})", router / value, digits(value)),
        None => "·".to_owned(),
    };
    format!(
        "{:<50} {:>12} {:>10} {:>14} {:>14} {:>14} {:>14}  {}",
        row.what,
        row.unit,
        digits(router),
        against(Kind::Tcp),
        against(Kind::Tls),
        against(Kind::Decoding),
        against(Kind::Peer),
        row.aim
    )
}

/// Three or four digits.
fn digits(value: f64) -> String {
    match value {
        value if value.is_nan() => "-".to_owned(),
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}
