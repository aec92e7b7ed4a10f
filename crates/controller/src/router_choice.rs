//! Which router a dial is sent to (kubernetes.md §5.2, protocol.md §6.6).

use std::collections::BTreeMap;

use crate::config::RouterTarget;

/// The router whose labels match most of the exporter's; a label that the exporter has otherwise speaks against, one
/// it lacks does not. Among equals `turn` goes round.
pub(crate) fn choose<'a>(
    routers: &'a [RouterTarget],
    labels: &BTreeMap<String, String>,
    turn: usize,
) -> Option<&'a RouterTarget> {
    let score = |router: &RouterTarget| {
        router
            .labels
            .iter()
            .map(|(key, value)| match labels.get(key) {
                Some(found) if found == value => 1_i32,
                Some(_) => -1,
                None => 0,
            })
            .sum::<i32>()
    };
    let best = routers.iter().map(score).max()?;
    let equals: Vec<&RouterTarget> = routers.iter().filter(|router| score(router) == best).collect();
    equals.get(turn % equals.len()).copied()
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
}
