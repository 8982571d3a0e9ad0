use serde::Serialize;

/// What one check came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) check: String,
    pub(crate) status: Status,
    /// What was found, in one line.
    pub(crate) found: String,
    /// What to do about it; none when all is well.
    pub(crate) remedy: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// As it should be.
    Ok,
    /// A `get` works, but slower, or with less.
    Warning,
    /// A `get` cannot work.
    Failed,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

impl Finding {
    pub(crate) fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(check, Status::Ok, found, None)
    }

    pub(crate) fn warning(
        check: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(check, Status::Warning, found, Some(remedy.into()))
    }

    pub(crate) fn failed(
        check: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(check, Status::Failed, found, Some(remedy.into()))
    }

    fn new(
        check: impl Into<String>,
        status: Status,
        found: impl Into<String>,
        remedy: Option<String>,
    ) -> Self {
        Self {
            check: check.into(),
            status,
            found: found.into(),
            remedy,
        }
    }
}

/// What a table of judgements expects: a status, and a word of what is found or of the remedy.
#[cfg(test)]
pub(crate) fn assert_judged(finding: &Finding, status: Status, word: &str) {
    assert_eq!(finding.status, status, "{finding:?}");
    let said = format!(
        "{} {}",
        finding.found,
        finding.remedy.as_deref().unwrap_or_default()
    );
    assert!(said.contains(word), "{finding:?}");
    assert_eq!(
        finding.remedy.is_none(),
        status == Status::Ok,
        "{finding:?}"
    );
}
