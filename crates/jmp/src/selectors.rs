//! Selectors of leases, compared with what a person asks for.
use jumpstarter_model::Selector;

use crate::failure::Failure;

/// What `-l` says, with its parts joined; parts that make no sense are a usage error.
pub(crate) fn parse(parts: &[String]) -> Result<Option<Selector>, Failure> {
    let text = parts.join(",");
    if text.trim().is_empty() {
        return Ok(None);
    }
    let parsed = Selector::parse(&text);
    parsed.map(Some).map_err(|error| Failure::Usage(format!("Invalid value for '-l' / '--selector': {error}")))
}

/// The part of a selector that the service can filter leases by.
pub(crate) fn server_filter(selector: Option<&Selector>) -> String {
    let pairs = selector.map(Selector::equality_labels).unwrap_or_default();
    pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// A lease with selector text `of_lease` is among those `asked` for: it names every pair, and each other requirement
/// is one of its own or holds for the pairs that it names.
pub(crate) fn is_among(of_lease: &str, asked: Option<&Selector>) -> bool {
    let Some(asked) = asked else { return true };
    let Ok(lease) = Selector::parse(of_lease) else { return false };
    let labels = lease.equality_labels();
    asked.requirements().iter().all(|wanted| match wanted.equality() {
        Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
        None => lease.requirements().contains(wanted) || wanted.matches(&labels),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_among_those_asked_for() {
        for (lease, asked, expected) in [
            ("board=qemu", "", true),
            ("board=qemu", "board=qemu", true),
            ("board=qemu", "board==qemu", true),
            ("board=qemu", "board=rpi", false),
            ("", "board=rpi", false),
            ("board=qemu,rack=2", "rack=2", true),
            ("board in (a,b)", "board in (b,a)", true),
            ("board=a", "board in (b,a)", true),
            ("board=c", "board in (b,a)", false),
            ("board=c", "board!=d", true),
            ("board=c", "board", true),
            ("board=c", "rack", false),
        ] {
            let asked = parse(&[asked.to_owned()]).unwrap();
            assert_eq!(is_among(lease, asked.as_ref()), expected, "{lease} {asked:?}");
        }
        assert_eq!(server_filter(parse(&["a=b".to_owned(), "c,d!=e".to_owned()]).unwrap().as_ref()), "a=b");
        assert!(matches!(parse(&["a=(".to_owned()]), Err(Failure::Usage(_))));
    }
}
