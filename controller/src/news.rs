//! What people should hear about an object, before it is known which object that is.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::ObjectReference;
use runtime::events::{Event, Level};

/// One thing to be told as an event, once whatever it speaks of has been written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Whether somebody should look.
    pub level: Level,
    /// For programs: one word in CamelCase. Those of the peer are its names.
    pub reason: Cow<'static, str>,
    /// For people.
    pub message: String,
    /// How often it may be told.
    pub occasion: Occasion,
}

/// How often the same news may be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Occasion {
    /// Each time: it speaks of a step that was just taken.
    Step,
    /// Once for each of these texts, such as a serial number or a generation: it speaks of a state that lasts.
    State(String),
}

impl News {
    /// All is well.
    pub fn normal(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let (reason, message) = (reason.into(), message.into());
        Self { level: Level::Normal, reason, message, occasion: Occasion::Step }
    }

    /// Something is wrong.
    pub fn warning(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::normal(reason, message) }
    }

    /// The same, told once for each `text`.
    #[must_use]
    pub fn once_for(self, text: impl Into<String>) -> Self {
        Self { occasion: Occasion::State(text.into()), ..self }
    }

    /// The event about an object.
    pub fn about(self, object: ObjectReference) -> Event {
        let Self { level, reason, message, occasion: _ } = self;
        Event { about: object, level, reason: reason.into_owned(), message }
    }
}
