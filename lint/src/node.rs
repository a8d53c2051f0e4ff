//! A document as a tree in which everything has its position.

use serde_json::{Map, Number, Value};

use crate::position::Position;

/// One value.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Where it begins.
    pub(crate) at: Position,
    pub(crate) content: Content,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    Null,
    Bool {
        value: bool,
        /// As in the text: `yes`.
        written: String,
    },
    Number {
        value: Number,
        /// As in the text: `0755`.
        written: String,
    },
    Text(String),
    List(Vec<Node>),
    /// Entries in the order of the text; a key may be repeated.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Where the key begins.
    pub(crate) at: Position,
    pub(crate) node: Node,
}

impl Node {
    /// The entry of a map. Of repeated ones the first.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.content {
            Content::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The text of an entry. None: it is missing, or no text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match &self.entry(key)?.node.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The same without positions.
    pub(crate) fn to_json(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool { value, .. } => Value::Bool(*value),
            Content::Number { value, .. } => Value::Number(value.clone()),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(items) => items.iter().map(Self::to_json).collect(),
            Content::Map(entries) => {
                let mut map = Map::new();
                for entry in entries {
                    map.entry(entry.key.clone()).or_insert_with(|| entry.node.to_json());
                }
                Value::Object(map)
            }
        }
    }

    /// Where the field at `path` is, such as `spec.dnsNames[1]`: the key of an entry, or an item of a list. What is
    /// missing is where the nearest thing around it is.
    pub(crate) fn locate(&self, path: &str) -> Position {
        let (mut node, mut rest) = (self, path);
        let mut at = self.at;
        while let Some(step) = node.step(rest) {
            (at, node, rest) = step;
        }
        at
    }

    /// The first member of a path, and what is left of the path after it.
    fn step<'n, 'p>(&'n self, path: &'p str) -> Option<(Position, &'n Self, &'p str)> {
        match &self.content {
            Content::Map(entries) => {
                let path = path.strip_prefix('.').unwrap_or(path);
                let (entry, rest) = entries
                    .iter()
                    .filter_map(|entry| Some((entry, path.strip_prefix(entry.key.as_str())?)))
                    .filter(|(_, rest)| rest.is_empty() || rest.starts_with(['.', '[']))
                    // A key may hold dots itself, as annotations do.
                    .max_by_key(|(entry, _)| entry.key.len())?;
                Some((entry.at, &entry.node, rest))
            }
            Content::List(items) => {
                let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
                let item = items.get(index.parse::<usize>().ok()?)?;
                Some((item.at, item, rest))
            }
            _ => None,
        }
    }
}
