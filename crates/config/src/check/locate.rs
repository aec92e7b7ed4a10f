//! Where in a YAML text a key stands.
use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

/// Line and column, both from 1.
pub(super) type Place = (u64, u64);

/// A document as a tree of places.
pub(super) struct Places(Node);

struct Node {
    children: Vec<(String, Place, Node)>,
}

impl Places {
    /// Reads the places of `text`; none when it is no YAML.
    pub(super) fn of(text: &str) -> Option<Self> {
        serde_saphyr::from_str::<Node>(text).ok().map(Self)
    }

    /// The place of the key at `path`, or of the nearest one above it that is there.
    pub(super) fn find(&self, path: &[&str]) -> Option<Place> {
        let (mut node, mut place) = (&self.0, None);
        for step in path {
            let Some((_, at, child)) = node.children.iter().find(|(key, ..)| key == step) else { break };
            (node, place) = (child, Some(*at));
        }
        place
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut children = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let place = (key.referenced.line(), key.referenced.column());
            children.push((key.value, place, map.next_value()?));
        }
        Ok(Node { children })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(LEAF)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(LEAF)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(LEAF)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(LEAF)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Node, E> {
        Ok(LEAF)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Node, E> {
        Ok(LEAF)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(LEAF)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(LEAF)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(LEAF)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(LEAF)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

const LEAF: Node = Node { children: Vec::new() };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_places() {
        let places = Places::of("a: 1\nb:\n  c: [1, {x: 2}]\n  d: {e: null}\n").unwrap();
        assert_eq!(places.find(&["a"]), Some((1, 1)));
        assert_eq!(places.find(&["b", "c"]), Some((3, 3)));
        assert_eq!(places.find(&["b", "d", "e"]), Some((4, 7)));
        assert_eq!(places.find(&["b", "missing", "x"]), Some((2, 1)));
        assert_eq!(places.find(&["missing"]), None);
        assert!(Places::of("a: [").is_none());
    }
}
