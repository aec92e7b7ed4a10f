//! Keys for people to read.

use std::fmt::Write as _;

use jiff::Timestamp;
use jumpstarter_auth::KeyRing;

/// One line for each key: its id, what it is for, since when, until when.
pub(super) fn render(ring: &KeyRing, now: Timestamp) -> String {
    let mut rows = vec![
        ["KEY", "USE", "SINCE", "ACCEPTED UNTIL"].map(str::to_owned),
        row(&ring.signing_id(), "signing", ring.created(), None, now),
    ];
    for retired in ring.retired() {
        rows.push(row(&retired.key.id(), "retired", retired.created, Some(retired.until), now));
    }
    for trusted in ring.trusted() {
        let role = format!("trusted ({})", trusted.name);
        rows.push(row(&trusted.key.id(), &role, trusted.added, Some(trusted.until), now));
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2)];
    let mut text = String::new();
    for [id, role, since, until] in &rows {
        let [first, second, third] = widths;
        let _ = writeln!(text, "{id:first$}  {role:second$}  {since:third$}  {until}");
    }
    text.trim_end().to_owned()
}

fn row(
    id: &jumpstarter_auth::KeyId,
    role: &str,
    since: Timestamp,
    until: Option<Timestamp>,
    now: Timestamp,
) -> [String; 4] {
    let until = match until {
        None => "-".to_owned(),
        Some(until) if until <= now => format!("{until} (over)"),
        Some(until) => until.to_string(),
    };
    [id.to_string(), role.to_owned(), since.to_string(), until]
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use jumpstarter_auth::SigningKey;

    use super::*;

    #[test]
    fn every_key_is_listed_and_nothing_secret() {
        let now: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
        let hours = SignedDuration::from_hours;
        let mut ring = KeyRing::generate(now).unwrap();
        ring.rotate(now, hours(1)).unwrap();
        let other = SigningKey::generate().unwrap();
        ring.trust("go-service", vec![other.verifying_key().clone()], now + hours(48), now).unwrap();
        let text = render(&ring, now + hours(1));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[1].starts_with(ring.signing_id().as_str()) && lines[1].ends_with('-'), "{text}");
        assert!(lines[2].contains("retired") && lines[2].ends_with("2027-01-01T01:00:00Z (over)"), "{text}");
        assert!(lines[3].contains("trusted (go-service)") && lines[3].ends_with("2027-01-03T00:00:00Z"), "{text}");
        assert!(!text.contains("PRIVATE"));
    }
}
