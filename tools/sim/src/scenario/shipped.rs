//! The scenarios that come with the program.

use super::DevicePath;
use super::Scenario;
use super::ScenarioError;

/// A scenario that comes with the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shipped {
    name: &'static str,
    text: &'static str,
    path: DevicePath,
}

const QUESTION: &str = include_str!("../../scenarios/question-2013.toml");
const RETENTION: &str = include_str!("../../scenarios/retention.toml");
const EXHAUSTION: &str = include_str!("../../scenarios/vector-exhaustion.toml");
const ENGINES: &str = include_str!("../../scenarios/engines.toml");
const BIG_HOST: &str = include_str!("../../scenarios/big-host.toml");

impl Shipped {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self { name: "question-2013", text: QUESTION, path: DevicePath::AsIs },
        Self { name: "question-2013-event", text: QUESTION, path: DevicePath::Event },
        Self { name: "question-2013-remapped", text: QUESTION, path: DevicePath::Remapped },
        Self { name: "question-2013-posted", text: QUESTION, path: DevicePath::Posted },
        Self { name: "retention", text: RETENTION, path: DevicePath::AsIs },
        Self { name: "vector-exhaustion", text: EXHAUSTION, path: DevicePath::AsIs },
        Self { name: "engines", text: ENGINES, path: DevicePath::AsIs },
        Self { name: "big-host", text: BIG_HOST, path: DevicePath::AsIs },
    ];

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shipped| shipped.name == name)
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The file it is read from, for a reader who wants to change it.
    #[must_use]
    pub const fn text(&self) -> &'static str {
        self.text
    }

    /// The scenario.
    ///
    /// # Errors
    /// [`ScenarioError`] when the file shipped is wrong; the tests see to it that none is.
    pub fn scenario(&self) -> Result<Scenario, ScenarioError> {
        let mut scenario = Scenario::parse(self.name, self.text)?;
        self.name.clone_into(&mut scenario.name);
        if self.path != DevicePath::AsIs {
            scenario.path = self.path;
        }
        Ok(scenario)
    }
}
