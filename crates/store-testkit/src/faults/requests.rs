use super::head::RequestHead;

/// What a request asks of an S3 store, as far as its method, query and headers tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// GET of a whole object.
    Get,
    /// GET with a `Range`.
    RangedGet,
    /// HEAD.
    Head,
    /// PUT of a whole object, or of a bucket.
    Put,
    /// GET that lists a bucket.
    List,
    /// POST that begins a multipart upload.
    CreateMultipart,
    /// PUT of a part.
    UploadPart,
    /// POST that completes a multipart upload.
    CompleteMultipart,
    /// DELETE of a multipart upload.
    AbortMultipart,
    /// DELETE of an object.
    Delete,
    /// Anything else: what other protocols than S3 ask, mostly.
    Other,
}

impl Kind {
    pub(super) fn of(request: &RequestHead) -> Self {
        let (part, upload) = (
            request.has_query_key("partNumber"),
            request.has_query_key("uploadId"),
        );
        match request.method.as_str() {
            "GET" if request.has_query_key("list-type") || request.has_query_key("prefix") => {
                Self::List
            }
            "GET" if request.is_ranged() => Self::RangedGet,
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "PUT" if part && upload => Self::UploadPart,
            "PUT" => Self::Put,
            "POST" if request.has_query_key("uploads") => Self::CreateMultipart,
            "POST" if upload => Self::CompleteMultipart,
            "DELETE" if upload => Self::AbortMultipart,
            "DELETE" => Self::Delete,
            _ => Self::Other,
        }
    }
}

/// Which requests a fault is for: the first one that is all that is asked of it, unless something else is said
/// of their number.
#[derive(Debug, Clone, PartialEq)]
pub struct Requests {
    kind: Option<Kind>,
    method: Option<&'static str>,
    path: Option<String>,
    query_key: Option<&'static str>,
    ranged: Option<bool>,
    first: u64,
    times: u64,
    chance: f64,
}

impl Requests {
    /// Whatever they ask.
    #[must_use]
    pub const fn any() -> Self {
        Self {
            kind: None,
            method: None,
            path: None,
            query_key: None,
            ranged: None,
            first: 1,
            times: 1,
            chance: 1.0,
        }
    }

    /// Those of one kind.
    #[must_use]
    pub const fn of(kind: Kind) -> Self {
        let mut of_kind = Self::any();
        of_kind.kind = Some(kind);
        of_kind
    }

    /// With this method, in capitals.
    #[must_use]
    pub fn method(mut self, method: &'static str) -> Self {
        self.method = Some(method);
        self
    }

    /// With this in their path, as it is on the wire, percent signs and all.
    #[must_use]
    pub fn path(mut self, part: impl Into<String>) -> Self {
        self.path = Some(part.into());
        self
    }

    /// With this key in their query.
    #[must_use]
    pub fn query_key(mut self, key: &'static str) -> Self {
        self.query_key = Some(key);
        self
    }

    /// With a `Range` header, or without.
    #[must_use]
    pub fn ranged(mut self, ranged: bool) -> Self {
        self.ranged = Some(ranged);
        self
    }

    /// From the `n`th of them; the first is 1.
    #[must_use]
    pub fn nth(mut self, n: u64) -> Self {
        self.first = n;
        self
    }

    /// So many of them, in a row.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// All from there on.
    #[must_use]
    pub fn for_ever(self) -> Self {
        self.times(u64::MAX)
    }

    /// Each with this probability, 0 to 1, by the script's seed.
    #[must_use]
    pub fn with_chance(mut self, chance: f64) -> Self {
        self.chance = chance;
        self
    }

    /// Whether the request is one of them, whatever its number.
    pub(super) fn include(&self, request: &RequestHead) -> bool {
        self.kind.is_none_or(|kind| kind == Kind::of(request))
            && self.method.is_none_or(|method| method == request.method)
            && (self.path.as_ref()).is_none_or(|part| request.path().contains(part))
            && self.query_key.is_none_or(|key| request.has_query_key(key))
            && self.ranged.is_none_or(|is| is == request.is_ranged())
    }

    /// Whether the `n`th of them is meant.
    pub(super) fn mean(&self, n: u64, rng: &mut fastrand::Rng) -> bool {
        n >= self.first && n - self.first < self.times && rng.f64() < self.chance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str, header: &str) -> RequestHead {
        let bytes = format!("{line} HTTP/1.1\r\nHost: a\r\n{header}\r\n");
        RequestHead::read(&mut bytes.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn each_kind_is_known_by_its_request() {
        for (line, kind) in [
            ("GET /b/k", Kind::Get),
            ("HEAD /b/k", Kind::Head),
            ("PUT /b/k", Kind::Put),
            ("GET /b?list-type=2&prefix=a", Kind::List),
            ("POST /b/k?uploads", Kind::CreateMultipart),
            ("POST /b/k?uploads=", Kind::CreateMultipart),
            ("PUT /b/k?partNumber=1&uploadId=x", Kind::UploadPart),
            ("POST /b/k?uploadId=x", Kind::CompleteMultipart),
            ("DELETE /b/k?uploadId=x", Kind::AbortMultipart),
            ("DELETE /b/k", Kind::Delete),
            ("PATCH /b/k", Kind::Other),
        ] {
            assert_eq!(Kind::of(&request(line, "")), kind, "{line}");
        }
        let ranged = request("GET /b/k", "range: bytes=0-1\r\n");
        assert_eq!(Kind::of(&ranged), Kind::RangedGet);
    }

    #[test]
    fn every_condition_has_to_hold() {
        let put = request("PUT /b/snapshots/k?partNumber=1&uploadId=x", "");
        let puts = Requests::any().method("PUT").path("snapshots/");
        assert!(puts.include(&put));
        assert!(puts.clone().query_key("uploadId").include(&put));
        assert!(!puts.clone().query_key("upload").include(&put));
        assert!(!puts.clone().ranged(true).include(&put));
        // A path is no query.
        assert!(!puts.path("uploadId").include(&put));
    }

    #[test]
    fn the_nth_and_so_many_from_there_are_meant() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut meant = |requests: Requests| -> Vec<_> {
            (1..=6).filter(|n| requests.mean(*n, &mut rng)).collect()
        };
        assert_eq!(meant(Requests::any()), [1]);
        assert_eq!(meant(Requests::any().nth(2).times(3)), [2, 3, 4]);
        assert_eq!(meant(Requests::any().nth(5).for_ever()), [5, 6]);
        assert_eq!(
            meant(Requests::any().for_ever().with_chance(0.0)),
            [] as [u64; 0]
        );
    }
}
