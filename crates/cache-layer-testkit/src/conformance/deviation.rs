use std::error::Error;
use std::fmt;

use cache_layer::BoxError;

/// How a layer deviates from the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deviation {
    behaviour: Option<&'static str>,
    what: String,
}

/// All deviations of one layer; there is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deviations(Vec<Deviation>);

impl Deviation {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            behaviour: None,
            what: what.into(),
        }
    }

    pub(crate) fn in_behaviour(self, name: &'static str) -> Self {
        Self {
            behaviour: Some(name),
            ..self
        }
    }

    /// The behaviour that the layer does not have, by name.
    #[must_use]
    pub fn behaviour(&self) -> Option<&'static str> {
        self.behaviour
    }
}

impl Deviations {
    pub(crate) fn new(deviations: Vec<Deviation>) -> Self {
        Self(deviations)
    }

    /// Each of them, in the order of [`ALL`](super::ALL).
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Deviation> {
        self.0.iter()
    }
}

/// What an action gave, or that it failed, with the whole story: nobody is left to walk the sources.
pub(crate) fn doing<T>(
    action: impl fmt::Display,
    result: Result<T, impl Into<BoxError>>,
) -> Result<T, Deviation> {
    result.map_err(|error| {
        let error = error.into();
        let mut what = format!("{action} fails: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            what = format!("{what}: {cause}");
            source = cause.source();
        }
        Deviation::new(what)
    })
}

pub(crate) fn require(is_so: bool, otherwise: impl FnOnce() -> String) -> Result<(), Deviation> {
    match is_so {
        true => Ok(()),
        false => Err(Deviation::new(otherwise())),
    }
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.behaviour {
            Some(behaviour) => write!(f, "{behaviour}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl fmt::Display for Deviations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the layer does not keep the contract:")?;
        self.iter()
            .try_for_each(|deviation| write!(f, "\n  {deviation}"))
    }
}

impl Error for Deviation {}

impl Error for Deviations {}
