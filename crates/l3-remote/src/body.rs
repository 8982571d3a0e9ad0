use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use futures::TryStreamExt;
use jiff::Timestamp;
use opendal::{Buffer, BufferStream, Error, ErrorKind, Operator, Reader};
use tokio_util::task::AbortOnDropHandle;

use crate::pace::Pace;

/// What one of several requests at once asks for. A request costs a round trip, and a range that was fetched ahead is
/// held in memory: at 8 MiB the one is small against the transfer and so is the other.
pub const RANGE_BYTES: u64 = 8 << 20;
/// How many ranges are fetched ahead of the one that is being read.
pub const RANGES_AHEAD: usize = 6;

/// No object is longer: 5 TiB, the most that S3 and GCS take.
const LONGEST: u64 = 5 << 40;

/// The bytes of an object, in order.
///
/// The first request asks for all of it and says how long that is: of a store that is near, one stream brings bytes
/// as fast as they are used, and further requests would only cost the store. When the stream keeps its reader
/// waiting, it is left at the next boundary of a range, and what lies beyond is fetched by several requests at once,
/// all of the same object: one that is replaced meanwhile ends in [`ErrorKind::ConditionNotMatch`] where the store
/// tells it.
pub(crate) struct Body {
    stream: Exactly,
    pace: Pace,
    version: Version,
    /// Reads nothing but the version that the first request brought, if the store can.
    reader: Reader,
    ahead: VecDeque<AbortOnDropHandle<Result<Vec<Buffer>, Error>>>,
    arrived: VecDeque<Buffer>,
    rest: Range<u64>,
}

/// What tells an object from one of the same name that replaced it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) bytes: u64,
    pub(crate) modified: Option<Timestamp>,
    etag: Option<String>,
}

impl Version {
    pub(crate) fn of(metadata: &opendal::Metadata) -> Self {
        Self {
            bytes: metadata.content_length(),
            modified: metadata.last_modified().and_then(|modified| {
                Timestamp::from_nanosecond(modified.into_inner().as_nanosecond()).ok()
            }),
            etag: metadata.etag().map(str::to_owned),
        }
    }

    /// Whether both are certain to be of one object.
    pub(crate) fn is(&self, other: &Self) -> bool {
        // A read and a look may differ in how exactly they tell the time.
        match (&self.etag, &other.etag) {
            (Some(one), Some(other)) => one == other,
            _ => self.bytes == other.bytes,
        }
    }
}

impl Body {
    /// Begins to read the object `path`; `None` if there is none.
    pub(crate) async fn open(store: &Operator, path: &str) -> Result<Option<Self>, Error> {
        match Self::begin(store, path).await {
            Ok(body) => Ok(Some(body)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn begin(store: &Operator, path: &str) -> Result<Self, Error> {
        let reader = store.reader(path).await?;
        let mut stream = reader.clone().into_stream(0..LONGEST).await?;
        let beginning = match stream.try_next().await {
            // What is shorter than the range has none, some stores say.
            Err(error) if error.kind() == ErrorKind::RangeNotSatisfied => {
                let bytes = store.stat(path).await?.content_length();
                stream = reader.clone().into_stream(0..bytes).await?;
                None
            }
            beginning => beginning?,
        };
        // A store that says nothing along with the bytes is near.
        let metadata = match reader.metadata() {
            Some(metadata) => metadata.clone(),
            None => store.stat(path).await?,
        };
        let version = Version::of(&metadata);
        let etag = version
            .etag
            .as_deref()
            .filter(|etag| !etag.starts_with("W/"));
        let reader = match etag {
            Some(etag) if store.info().capability().read_with_if_match => {
                store.reader_with(path).if_match(etag).await?
            }
            _ => reader,
        };
        Ok(Self {
            stream: Exactly::new(stream, beginning, version.bytes),
            pace: Pace::default(),
            rest: version.bytes..version.bytes,
            version,
            reader,
            ahead: VecDeque::new(),
            arrived: VecDeque::new(),
        })
    }

    pub(crate) fn version(&self) -> &Version {
        &self.version
    }

    /// The next bytes; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Buffer>, Error> {
        let began = Instant::now();
        if let Some(bytes) = self.stream.next().await? {
            self.pace.came(bytes.len(), began.elapsed());
            if self.pace.is_slow() && !self.stream.ends_early {
                self.leave_stream();
            }
            return Ok(Some(bytes));
        }
        loop {
            if let Some(bytes) = self.arrived.pop_front() {
                return Ok(Some(bytes));
            }
            self.fetch_ahead();
            let Some(range) = self.ahead.pop_front() else {
                return Ok(None);
            };
            let arrived = range.await.map_err(|error| {
                Error::new(ErrorKind::Unexpected, "a range was given up").set_source(error)
            })?;
            self.arrived = arrived?.into();
            self.fetch_ahead();
        }
    }

    /// Has what lies beyond the range that the stream is in fetched by others.
    fn leave_stream(&mut self) {
        let at = self.version.bytes - self.stream.left;
        let boundary = at.next_multiple_of(RANGE_BYTES).min(self.version.bytes);
        self.stream.end_after(boundary - at);
        self.rest.start = boundary;
        self.fetch_ahead();
    }

    /// Fetches what comes next before it is asked for.
    fn fetch_ahead(&mut self) {
        while self.ahead.len() < RANGES_AHEAD && !self.rest.is_empty() {
            let start = self.rest.start;
            let end = self.rest.end.min(start + RANGE_BYTES);
            self.rest.start = end;
            let fetch = fetch(self.reader.clone(), start..end);
            self.ahead
                .push_back(AbortOnDropHandle::new(tokio::spawn(fetch)));
        }
    }
}

async fn fetch(reader: Reader, range: Range<u64>) -> Result<Vec<Buffer>, Error> {
    let bytes = range.end - range.start;
    let mut stream = Exactly::new(reader.into_stream(range).await?, None, bytes);
    let mut buffers = Vec::new();
    while let Some(bytes) = stream.next().await? {
        buffers.push(bytes);
    }
    Ok(buffers)
}

/// So many bytes of a stream, and not one less.
struct Exactly {
    /// Gone as soon as it is not needed, and with it the connection, or the claim on it.
    stream: Option<BufferStream>,
    beginning: Option<Buffer>,
    left: u64,
    of: u64,
    ends_early: bool,
}

impl Exactly {
    /// `bytes` of what `beginning` and then `stream` give.
    fn new(stream: BufferStream, beginning: Option<Buffer>, bytes: u64) -> Self {
        Self {
            stream: Some(stream),
            beginning,
            left: bytes,
            of: bytes,
            ends_early: false,
        }
    }

    /// Takes `left` more bytes and leaves the others.
    fn end_after(&mut self, left: u64) {
        self.left = left;
        self.ends_early = true;
    }

    async fn next(&mut self) -> Result<Option<Buffer>, Error> {
        // What lies beyond is not asked for: some stores call that an error.
        if self.left == 0 {
            self.stream = None;
            return Ok(None);
        }
        let bytes = match (self.beginning.take(), &mut self.stream) {
            (Some(bytes), _) => Some(bytes),
            (None, Some(stream)) => stream.try_next().await?,
            (None, None) => None,
        };
        match bytes {
            Some(bytes) if bytes.len() as u64 <= self.left => {
                self.left -= bytes.len() as u64;
                Ok(Some(bytes))
            }
            Some(bytes) if self.ends_early => {
                let bytes = bytes.slice(..self.left as usize);
                self.left = 0;
                Ok(Some(bytes))
            }
            _ => {
                let message = format!(
                    "the store promised {} bytes and sent {}",
                    self.of,
                    if bytes.is_some() { "more" } else { "fewer" }
                );
                Err(Error::new(ErrorKind::Unexpected, message).set_temporary())
            }
        }
    }
}
