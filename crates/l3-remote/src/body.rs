use std::collections::VecDeque;
use std::ops::Range;

use futures::TryStreamExt;
use jiff::Timestamp;
use opendal::{Buffer, BufferStream, Error, ErrorKind, Operator, Reader};
use tokio_util::task::AbortOnDropHandle;

/// What one request asks for. A request costs a round trip, and a range that was fetched ahead is held in
/// memory: at 8 MiB the one is small against the transfer and so is the other.
pub const RANGE_BYTES: u64 = 8 << 20;
/// How many ranges are fetched ahead of the one that is being read.
pub const RANGES_AHEAD: usize = 4;

/// The bytes of an object, in order.
///
/// The first request brings its first range and says how long it is, so that what fits into one range costs
/// one round trip. Of a longer one, further ranges are fetched at once as soon as somebody wants the whole,
/// all of the same object: one that is replaced meanwhile ends in [`ErrorKind::ConditionNotMatch`] where the
/// store tells it.
pub(crate) struct Body {
    first: Exactly,
    version: Version,
    /// Reads nothing but the version that the first range is of, if the store can.
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
        let mut stream = reader.clone().into_stream(0..RANGE_BYTES).await?;
        let beginning = match stream.try_next().await {
            // What is shorter than the range has none, some stores say.
            Err(error) if error.kind() == ErrorKind::RangeNotSatisfied => {
                let bytes = store.stat(path).await?.content_length();
                stream = reader
                    .clone()
                    .into_stream(0..bytes.min(RANGE_BYTES))
                    .await?;
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
        let first = version.bytes.min(RANGE_BYTES);
        Ok(Self {
            first: Exactly::new(stream, beginning, first),
            rest: first..version.bytes,
            version,
            reader,
            ahead: VecDeque::new(),
            arrived: VecDeque::new(),
        })
    }

    pub(crate) fn version(&self) -> &Version {
        &self.version
    }

    /// Fetches what comes next before it is asked for.
    pub(crate) fn fetch_ahead(&mut self) {
        while self.ahead.len() < RANGES_AHEAD && !self.rest.is_empty() {
            let start = self.rest.start;
            let end = self.rest.end.min(start + RANGE_BYTES);
            self.rest.start = end;
            let fetch = fetch(self.reader.clone(), start..end);
            self.ahead
                .push_back(AbortOnDropHandle::new(tokio::spawn(fetch)));
        }
    }

    /// The next bytes; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Buffer>, Error> {
        if let Some(bytes) = self.first.next().await? {
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
    stream: BufferStream,
    beginning: Option<Buffer>,
    left: u64,
    of: u64,
}

impl Exactly {
    /// `bytes` of what `beginning` and then `stream` give.
    fn new(stream: BufferStream, beginning: Option<Buffer>, bytes: u64) -> Self {
        Self {
            stream,
            beginning,
            left: bytes,
            of: bytes,
        }
    }

    async fn next(&mut self) -> Result<Option<Buffer>, Error> {
        // What lies beyond is not asked for: some stores call that an error.
        if self.left == 0 {
            return Ok(None);
        }
        let bytes = match self.beginning.take() {
            Some(bytes) => Some(bytes),
            None => self.stream.try_next().await?,
        };
        match bytes {
            Some(bytes) if bytes.len() as u64 <= self.left => {
                self.left -= bytes.len() as u64;
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
