//! Which router a dial is sent to (kubernetes.md §5.2, protocol.md §6.6).

use std::collections::BTreeMap;

use crate::config::RouterTarget;

/// The router whose labels match most of the exporter's. A label that the exporter has otherwise puts the router behind
/// all others; one that it lacks says nothing, so that routers with labels of their own take their share of exporters
/// without any. Among equals `turn` goes round.
pub(crate) fn choose<'a>(
    routers: &'a [RouterTarget],
    labels: &BTreeMap<String, String>,
    turn: usize,
) -> Option<&'a RouterTarget> {
    let score = |router: &RouterTarget| affinity(&router.labels, labels);
    let best = routers.iter().map(score).max()?;
    let equals: Vec<&RouterTarget> = routers.iter().filter(|router| score(router) == best).collect();
    equals.get(turn % equals.len()).copied()
}

/// Labels in common; `None`, which is less than any number, when one contradicts.
fn affinity(router: &BTreeMap<String, String>, exporter: &BTreeMap<String, String>) -> Option<usize> {
    router.iter().try_fold(0, |matches, (key, value)| match exporter.get(key) {
        Some(found) if found == value => Some(matches + 1),
        Some(_) => None,
        None => Some(matches),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(endpoint: &str, labels: &[(&str, &str)]) -> RouterTarget {
        RouterTarget { endpoint: endpoint.to_owned(), labels: map(labels) }
    }

    fn map(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn affinity_decides_then_turns() {
        let routers =
            [router("a", &[]), router("b", &[("site", "x")]), router("c", &[("site", "y")]), router("d", &[])];
        let pick = |labels: &[(&str, &str)], turn| choose(&routers, &map(labels), turn).unwrap().endpoint.clone();
        assert_eq!(pick(&[("site", "x")], 0), "b");
        assert_eq!(pick(&[("site", "y")], 1), "c");
        // Nothing matches: any router but those for another site.
        assert_eq!(pick(&[("site", "z")], 0), "a");
        assert_eq!(pick(&[("site", "z")], 1), "d");
        // An absent label is no veto.
        assert_eq!(pick(&[], 1), "b");
        assert!(choose(&[], &map(&[]), 0).is_none());
    }

    #[test]
    fn one_contradiction_outweighs_any_match() {
        let routers = [router("a", &[("site", "x"), ("rack", "1")]), router("b", &[])];
        let pick = |labels: &[(&str, &str)], turn| choose(&routers, &map(labels), turn).unwrap().endpoint.clone();
        assert_eq!(pick(&[("site", "x"), ("rack", "2")], 0), "b");
        assert_eq!(pick(&[("site", "x"), ("rack", "2")], 1), "b");
        assert_eq!(pick(&[("site", "x")], 1), "a", "one match, nothing against");
        // A router that contradicts is better than none.
        assert!(choose(&routers[..1], &map(&[("site", "y")]), 0).is_some());
    }

    #[test]
    fn routers_as_the_operator_labels_them_share_the_load() {
        let routers =
            [router("r0", &[]), router("r1", &[("router-index", "1")]), router("r2", &[("router-index", "2")])];
        let picks = |labels: &[(&str, &str)]| {
            (0..6).map(|turn| choose(&routers, &map(labels), turn).unwrap().endpoint.clone()).collect::<Vec<_>>()
        };
        assert_eq!(picks(&[("board", "x")]), ["r0", "r1", "r2", "r0", "r1", "r2"]);
        assert_eq!(picks(&[("router-index", "2")]), ["r2"; 6]);
    }
}
