//! From text to documents. JSON is YAML as well.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Marker, Options, Parser, ScalarStyle, Span, StrInput, Tag};

use crate::node::{Content, Entry, Node};
use crate::position::Position;
use crate::scalar;

/// Longest text: a chart of thousands of objects has a few megabytes.
pub const TEXT_BYTES_MAX: usize = 16 << 20;
/// Most documents of one text.
const DOCUMENTS_MAX: usize = 10_000;
/// Deepest nesting. The deepest field of our kinds is at 20, and a list of lists of objects adds four.
const DEPTH_MAX: usize = 100;
/// How much aliases and merges may add to one text, by the measure of [`weight`]: a few lines can ask for more than
/// any machine has.
const COPIES_MAX: usize = 16 << 20;
/// What a value weighs without its text, roughly in bytes.
const NODE_WEIGHT: usize = 100;

/// Why a text cannot be read on.
#[derive(Debug, thiserror::Error)]
#[error("{fault}")]
pub(crate) struct Unreadable {
    pub(crate) at: Position,
    fault: Fault,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("not YAML: {0}")]
    Syntax(String),
    #[error("longer than {TEXT_BYTES_MAX} bytes; split it")]
    Text,
    #[error("more than {DOCUMENTS_MAX} documents; split it")]
    Documents,
    #[error("nested deeper than {DEPTH_MAX} levels")]
    Depth,
    #[error("aliases expand to more than {COPIES_MAX} bytes; write out what they stand for")]
    Copies,
    #[error("an alias within the value that it stands for")]
    Cycle,
    #[error("a list or map as a key; keys are text")]
    Key,
    #[error("only a map, or a list of maps, can be merged by <<")]
    Merge,
}

/// The documents of a text, in order. The first error is the last item.
pub(crate) struct Documents<'a> {
    parser: Parser<'a, StrInput<'a>>,
    too_long: bool,
    seen: usize,
    copies: usize,
    ended: bool,
}

impl<'a> Documents<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        // Comments say nothing here.
        let mut options = Options::default();
        options.emit_comments = false;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self {
            parser: Parser::new_from_str_with_options(text, options),
            too_long: text.len() > TEXT_BYTES_MAX,
            seen: 0,
            copies: 0,
            ended: false,
        }
    }
}

impl Iterator for Documents<'_> {
    type Item = Result<Node, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = if self.too_long {
            Err(Unreadable { at: Position::START, fault: Fault::Text })
        } else {
            self.document()
        };
        self.ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

impl Documents<'_> {
    fn document(&mut self) -> Result<Option<Node>, Unreadable> {
        let mut tree = Tree { open: Vec::new(), anchors: HashMap::new(), root: None, copies: self.copies };
        for next in self.parser.by_ref() {
            let (event, span) = next.map_err(|error| Unreadable {
                at: position(error.marker()),
                fault: Fault::Syntax(error.info()),
            })?;
            let at = position(&span.start);
            if matches!(event, Event::DocumentStart(..)) {
                self.seen += 1;
            } else if matches!(event, Event::DocumentEnd) {
                self.copies = tree.copies;
                return Ok(Some(tree.root.unwrap_or(Node { at, content: Content::Null })));
            }
            if self.seen > DOCUMENTS_MAX {
                return Err(Unreadable { at, fault: Fault::Documents });
            }
            tree.take(event, &span).map_err(|fault| Unreadable { at, fault })?;
        }
        Ok(None)
    }
}

fn position(marker: &Marker) -> Position {
    Position { line: marker.line().max(1), column: marker.col() + 1 }
}

/// A document that is being read.
struct Tree {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    copies: usize,
}

/// A list or map whose end is to come.
struct Open {
    at: Position,
    anchor: usize,
    parts: Parts,
}

enum Parts {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, merged: Vec<Node>, key: Option<Key> },
}

struct Key {
    text: String,
    at: Position,
    is_merge: bool,
}

impl Tree {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Fault> {
        let at = position(&span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = style == ScalarStyle::Plain && tag.as_ref().is_none_or(|tag| !is_text(tag));
                let content = if is_plain { scalar::plain(&text) } else { Content::Text(text.into_owned()) };
                self.put(Node { at, content }, anchor, is_plain)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(at, anchor, Parts::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => {
                let parts = Parts::Map { entries: Vec::new(), merged: Vec::new(), key: None };
                self.begin(at, anchor, parts)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => {
                    let (anchor, node) = (open.anchor, self.end(open)?);
                    self.put(node, anchor, false)
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let copy = self.anchors.get(&anchor).ok_or(Fault::Cycle)?;
                self.copies += weight(copy);
                if self.copies > COPIES_MAX {
                    return Err(Fault::Copies);
                }
                let copy = copy.clone();
                self.put(copy, 0, false)
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, at: Position, anchor: usize, parts: Parts) -> Result<(), Fault> {
        if self.open.len() >= DEPTH_MAX {
            return Err(Fault::Depth);
        }
        self.open.push(Open { at, anchor, parts });
        Ok(())
    }

    /// A value that is complete: a key, or the next thing in what is open.
    fn put(&mut self, node: Node, anchor: usize, is_plain: bool) -> Result<(), Fault> {
        if anchor != 0 {
            self.copies += weight(&node);
            if self.copies > COPIES_MAX {
                return Err(Fault::Copies);
            }
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.parts) {
            None => self.root = Some(node),
            Some(Parts::List(items)) => items.push(node),
            Some(Parts::Map { entries, merged, key }) => match key.take() {
                None => *key = Some(Key::of(node, is_plain)?),
                Some(key) if key.is_merge => merged.push(node),
                Some(key) => entries.push(Entry { key: key.text, at: key.at, node }),
            },
        }
        Ok(())
    }

    fn end(&mut self, open: Open) -> Result<Node, Fault> {
        let content = match open.parts {
            Parts::List(items) => Content::List(items),
            Parts::Map { mut entries, merged, .. } => {
                let mut known: HashSet<String> = HashSet::new();
                if !merged.is_empty() {
                    known.extend(entries.iter().map(|entry| entry.key.clone()));
                }
                for node in merged {
                    merge(node, &mut entries, &mut known)?;
                }
                Content::Map(entries)
            }
        };
        Ok(Node { at: open.at, content })
    }
}

/// Adds the entries of a merged map that are not there yet.
fn merge(node: Node, entries: &mut Vec<Entry>, known: &mut HashSet<String>) -> Result<(), Fault> {
    let maps = match node.content {
        Content::List(items) => items,
        content => vec![Node { at: node.at, content }],
    };
    for map in maps {
        let Content::Map(merged) = map.content else { return Err(Fault::Merge) };
        entries.extend(merged.into_iter().filter(|entry| known.insert(entry.key.clone())));
    }
    Ok(())
}

impl Key {
    fn of(node: Node, is_plain: bool) -> Result<Self, Fault> {
        let text = match node.content {
            Content::Text(text) => text,
            // Also as kubectl has it: the key `on` becomes `true`.
            Content::Bool { value, .. } => value.to_string(),
            Content::Number { value, .. } => value.to_string(),
            Content::Null => "null".to_owned(),
            Content::List(_) | Content::Map(_) => return Err(Fault::Key),
        };
        Ok(Self { is_merge: is_plain && text == "<<", text, at: node.at })
    }
}

/// Whether a tag makes its scalar text, whatever it looks like.
fn is_text(tag: &Tag) -> bool {
    matches!(tag.suffix(), "str" | "binary" | "timestamp") || tag.handle() == "!"
}

/// What a copy of a value costs, roughly in bytes.
fn weight(node: &Node) -> usize {
    NODE_WEIGHT
        + match &node.content {
            Content::Null => 0,
            Content::Bool { written, .. } | Content::Number { written, .. } => written.len(),
            Content::Text(text) => text.len(),
            Content::List(items) => items.iter().map(weight).sum(),
            Content::Map(entries) => entries.iter().map(|entry| entry.key.len() + weight(&entry.node)).sum(),
        }
}
