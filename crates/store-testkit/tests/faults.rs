//! Every fault, as a plain HTTP client sees it, in front of a small server that says what it got.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::num::NonZero;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use store_testkit::faults::{Fault, FaultProxy, Kind, Link, Requests, Script};
use store_testkit::servers::{FakeGcs, Moto, S3sFs, SeaweedFs, StoreServer, for_test};

const NEVER: Duration = Duration::from_secs(30);

/// Answers every GET with `BODY`, chunked where the path says so, and everything else with the request's body;
/// tells what came of every request.
struct Origin {
    endpoint: String,
    got: mpsc::Receiver<Got>,
}

/// A request that arrived: its head, and its body or how reading that ended.
struct Got {
    head: String,
    body: io::Result<Vec<u8>>,
}

fn body() -> Vec<u8> {
    (0..100_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

impl Origin {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (tell, got) = mpsc::channel();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let tell = tell.clone();
                thread::spawn(move || answer(&client, &tell));
            }
        });
        Self { endpoint, got }
    }
}

fn answer(client: &TcpStream, tell: &mpsc::Sender<Got>) -> io::Result<()> {
    let mut from = BufReader::new(client);
    loop {
        let head = read_head(&mut from)?;
        if head.is_empty() {
            return Ok(());
        }
        let mut got = vec![0; declared_length(&head).unwrap_or(0)];
        let read = from.read_exact(&mut got);
        let is_get = head.starts_with("GET");
        let answer = if is_get { body() } else { got.clone() };
        let is_chunked = head.contains("/chunked");
        let is_whole = read.is_ok();
        let _ = tell.send(Got {
            head,
            body: read.map(|()| got),
        });
        if !is_whole {
            return Ok(());
        }
        let mut to = client;
        if is_chunked {
            write!(to, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            for chunk in answer.chunks(7000) {
                write!(to, "{:x}\r\n", chunk.len())?;
                to.write_all(chunk)?;
                to.write_all(b"\r\n")?;
            }
            to.write_all(b"0\r\n\r\n")?;
        } else {
            let length = answer.len();
            write!(to, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
            to.write_all(&answer)?;
        }
    }
}

fn read_head(from: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    while from.read_line(&mut head)? > 2 {}
    Ok(head)
}

fn declared_length(head: &str) -> Option<usize> {
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_it = name.eq_ignore_ascii_case("content-length");
        is_it.then(|| value.trim().parse().ok())?
    })
}

/// A client's connection.
struct Client(BufReader<TcpStream>);

/// What a client sees of an answer: the head, and the body as far as it came and how it ended.
struct Answer {
    head: String,
    body: Vec<u8>,
    end: io::Result<()>,
}

impl Client {
    fn connect(endpoint: &str) -> Self {
        let stream = TcpStream::connect(endpoint.trim_start_matches("http://")).unwrap();
        stream.set_read_timeout(Some(NEVER)).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, line: &str, body: &[u8]) {
        let length = body.len();
        let head =
            format!("{line} HTTP/1.1\r\nHost: store.test:1\r\nContent-Length: {length}\r\n\r\n");
        self.0.get_mut().write_all(head.as_bytes()).unwrap();
        self.0.get_mut().write_all(body).unwrap();
    }

    fn receive(&mut self) -> io::Result<Answer> {
        let head = read_head(&mut self.0)?;
        if head.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let length = declared_length(&head).unwrap_or(0);
        let mut body = Vec::new();
        let end = match self.0.by_ref().take(length as u64).read_to_end(&mut body) {
            Ok(read) if read < length => Err(ErrorKind::UnexpectedEof.into()),
            read => read.map(drop),
        };
        Ok(Answer { head, body, end })
    }

    fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.send(&format!("GET {path}"), b"");
        self.receive()
    }

    fn is_at_its_end(&mut self) -> bool {
        matches!(self.0.fill_buf(), Ok([]))
    }
}

/// An origin, and a proxy before it with one fault for the first GET.
fn first_get(fault: Fault) -> (Origin, FaultProxy, Client) {
    let origin = Origin::start();
    let script = Script::new(1).on(Requests::any().method("GET"), fault);
    let proxy = FaultProxy::start(&origin.endpoint, script).unwrap();
    let client = Client::connect(&proxy.endpoint());
    (origin, proxy, client)
}

fn is_reset<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

#[test]
fn without_faults_requests_pass_byte_for_byte_on_one_connection() {
    let origin = Origin::start();
    let proxy = FaultProxy::start(&origin.endpoint, Script::new(0)).unwrap();
    let mut client = Client::connect(&proxy.endpoint());
    for n in 0..3 {
        let answer = client.get(&format!("/b/k{n}?x=%20y")).unwrap();
        assert!(answer.body == body() && answer.end.is_ok());
        let got = origin.got.recv_timeout(NEVER).unwrap();
        assert_eq!(
            got.head,
            format!(
                "GET /b/k{n}?x=%20y HTTP/1.1\r\nHost: store.test:1\r\nContent-Length: 0\r\n\r\n"
            )
        );
        client.send("PUT /b/k", &body());
        assert!(client.receive().unwrap().body == body());
        assert!(origin.got.recv_timeout(NEVER).unwrap().body.unwrap() == body());
    }
    assert_eq!((proxy.count(Kind::Get), proxy.count(Kind::Put)), (3, 3));
}

#[test]
fn a_burst_of_errors_is_answered_by_the_proxy_and_then_over() {
    let origin = Origin::start();
    let script = Script::new(0)
        .on(Requests::of(Kind::Put).nth(2).times(2), Fault::slow_down())
        .on(Requests::of(Kind::Put).nth(4), Fault::internal_error());
    let proxy = FaultProxy::start(&origin.endpoint, script).unwrap();
    let mut client = Client::connect(&proxy.endpoint());
    let lines: Vec<_> = (0..5)
        .map(|_| {
            client.send("PUT /b/k", &body());
            let answer = client.receive().unwrap();
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            (answer.head[9..12].to_owned(), text)
        })
        .collect();
    let statuses: Vec<_> = lines.iter().map(|(status, _)| status.as_str()).collect();
    assert_eq!(statuses, ["200", "503", "503", "500", "200"]);
    assert!(lines[1].1.contains("<Error><Code>SlowDown</Code>"));
    assert_eq!((proxy.injected(0), proxy.injected(1)), (2, 1));
    assert_eq!(origin.got.try_iter().count(), 2);
}

#[test]
fn a_credential_expires_from_a_request_on() {
    let origin = Origin::start();
    let later = Requests::any().nth(2).for_ever();
    let script = Script::new(0).on(later, Fault::expired_token());
    let proxy = FaultProxy::start(&origin.endpoint, script).unwrap();
    let mut client = Client::connect(&proxy.endpoint());
    assert!(client.get("/b/k").unwrap().head.contains(" 200 "));
    for _ in 0..3 {
        let answer = client.get("/b/k").unwrap();
        assert!(answer.head.contains(" 403 "));
        assert!(String::from_utf8_lossy(&answer.body).contains("ExpiredToken"));
    }
    client.send("HEAD /b/k", b"");
    assert!(read_head(&mut client.0).unwrap().contains(" 403 "));
    assert_eq!(proxy.injected(0), 4);
}

#[test]
fn completing_an_upload_fails_behind_a_success() {
    let origin = Origin::start();
    let complete = Requests::of(Kind::CompleteMultipart);
    let script = Script::new(0).on(complete, Fault::error_in_success());
    let proxy = FaultProxy::start(&origin.endpoint, script).unwrap();
    let mut client = Client::connect(&proxy.endpoint());
    client.send("POST /b/k?uploads", b"");
    client.receive().unwrap();
    client.send("POST /b/k?uploadId=x", b"<CompleteMultipartUpload/>");
    let answer = client.receive().unwrap();
    assert!(answer.head.contains(" 200 "));
    assert!(String::from_utf8_lossy(&answer.body).contains("<Error><Code>InternalError</Code>"));
    assert_eq!(proxy.injected(0), 1);
    assert_eq!(origin.got.try_iter().count(), 1);
}

#[test]
fn a_connection_is_dropped_before_the_request() {
    let (origin, proxy, mut client) = first_get(Fault::DropBefore);
    assert!(is_reset(client.get("/b/k")));
    assert_eq!(proxy.injected(0), 1);
    assert_eq!(origin.got.try_iter().count(), 0);
    let mut again = Client::connect(&proxy.endpoint());
    assert!(again.get("/b/k").unwrap().body == body());
}

#[test]
fn a_connection_is_dropped_after_the_request_was_served() {
    let (origin, proxy, mut client) = first_get(Fault::DropAfter);
    assert!(is_reset(client.get("/b/k")));
    assert_eq!(proxy.injected(0), 1);
    assert!(origin.got.recv_timeout(NEVER).is_ok());
}

#[test]
fn a_connection_is_dropped_in_the_request() {
    let origin = Origin::start();
    let fault = Fault::DropInRequest { after: 60_000 };
    let script = Script::new(0).on(Requests::of(Kind::UploadPart), fault);
    let proxy = FaultProxy::start(&origin.endpoint, script).unwrap();
    let mut client = Client::connect(&proxy.endpoint());
    client.send("PUT /b/k?partNumber=1&uploadId=x", &body());
    assert!(is_reset(client.receive()));
    let got = origin.got.recv_timeout(NEVER).unwrap();
    assert!(got.body.is_err(), "the server saw no whole body");
    assert_eq!(proxy.injected(0), 1);
}

#[test]
fn a_connection_is_dropped_in_the_answer() {
    let (_origin, proxy, mut client) = first_get(Fault::DropInAnswer { after: 60_000 });
    // A reset may overtake what was sent before it, the head included.
    match client.get("/b/k") {
        Ok(answer) => {
            assert!(is_reset(answer.end));
            assert!(answer.body.len() <= 60_000);
        }
        broken => assert!(is_reset(broken)),
    }
    assert_eq!(proxy.injected(0), 1);
}

#[test]
fn an_answer_is_cut_short_behind_a_200_with_the_whole_length() {
    let (_origin, proxy, mut client) = first_get(Fault::CutShort { after: 60_000 });
    let answer = client.get("/b/k").unwrap();
    assert!(answer.head.contains(" 200 "));
    assert_eq!(declared_length(&answer.head), Some(100_000));
    assert!(answer.body == body()[..60_000]);
    assert_eq!(answer.end.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(proxy.injected(0), 1);
}

#[test]
fn an_answer_comes_with_flipped_bits_the_same_for_the_same_seed() {
    let flipped = || {
        let (_origin, proxy, mut client) = first_get(Fault::FlipBits { bits: 3 });
        let answer = client.get("/b/k").unwrap();
        assert!(answer.end.is_ok());
        assert_eq!(proxy.injected(0), 1);
        assert!(client.get("/b/k").unwrap().body == body());
        answer.body
    };
    let first = flipped();
    let bits = first.iter().zip(body()).map(|(a, b)| (a ^ b).count_ones());
    assert_eq!(bits.sum::<u32>(), 3);
    assert!(first == flipped());
}

#[test]
fn an_answer_stalls_until_the_client_gives_up() {
    let (_origin, proxy, mut client) = first_get(Fault::Stall { after: 100 });
    client.send("GET /b/k", b"");
    assert!(read_head(&mut client.0).unwrap().contains(" 200 "));
    let mut some = [0; 100];
    client.0.read_exact(&mut some).unwrap();
    assert_eq!(some, body()[..100]);
    let stream = client.0.get_ref();
    let short = Duration::from_millis(200);
    stream.set_read_timeout(Some(short)).unwrap();
    let silence = client.0.fill_buf().map(<[u8]>::len);
    assert_eq!(silence.unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(proxy.injected(0), 1);
    drop(client);
    let mut again = Client::connect(&proxy.endpoint());
    assert!(again.get("/b/k").unwrap().body == body());
}

#[test]
fn a_silent_request_is_seen_and_never_answered_and_ends_with_the_proxy() {
    let (origin, proxy, mut client) = first_get(Fault::Silence);
    client.send("GET /b/k", b"");
    assert!(proxy.wait_until(NEVER, |seen| seen.iter().any(|seen| seen.is_injected)));
    assert!(!proxy.wait_until(Duration::from_millis(10), |seen| seen.len() > 1));
    drop(proxy);
    assert!(client.receive().is_err());
    assert_eq!(origin.got.try_iter().count(), 0);
}

#[test]
fn an_answer_drips() {
    let every = Duration::from_millis(5);
    let (_origin, proxy, mut client) = first_get(Fault::Drip {
        bytes: 10_000,
        every,
    });
    let began = Instant::now();
    let answer = client.get("/b/k").unwrap();
    assert!(began.elapsed() >= every * 10);
    assert!(answer.body == body() && answer.end.is_ok());
    assert_eq!(proxy.injected(0), 1);
}

#[test]
fn a_length_is_wrong_in_either_direction() {
    for (by, declared) in [(1000, 101_000), (-1000, 99_000)] {
        let (_origin, proxy, mut client) = first_get(Fault::WrongLength { by });
        let answer = client.get("/b/k").unwrap();
        assert_eq!(declared_length(&answer.head), Some(declared));
        assert_eq!(answer.end.is_err(), by > 0);
        assert!(answer.body == body()[..declared.min(100_000)]);
        let mut rest = Vec::new();
        client.0.read_to_end(&mut rest).unwrap();
        assert!(rest == body()[declared.min(100_000)..]);
        assert_eq!(proxy.injected(0), 1);
    }
}

#[test]
fn an_answer_without_room_for_its_fault_passes_unharmed_and_is_no_fault() {
    for (path, fault) in [
        ("/b/k", Fault::CutShort { after: 100_000 }),
        ("/chunked", Fault::FlipBits { bits: 1 }),
    ] {
        let (origin, proxy, mut client) = first_get(fault);
        let answer = client.get(path).unwrap();
        assert!(answer.head.contains(" 200 "));
        assert!(origin.got.recv_timeout(NEVER).is_ok());
        assert_eq!((proxy.count(Kind::Get), proxy.injected(0)), (1, 0));
    }
}

#[test]
fn a_chunked_answer_passes_to_its_end() {
    let origin = Origin::start();
    let proxy = FaultProxy::start(&origin.endpoint, Script::new(0)).unwrap();
    let url = format!("{}/chunked", proxy.endpoint());
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
    for _ in 0..2 {
        let mut answer = agent.get(&url).call().unwrap();
        assert!(answer.body_mut().read_to_vec().unwrap() == body());
    }
}

#[test]
fn a_body_that_waits_to_be_called_for_is_called_for() {
    let origin = Origin::start();
    let proxy = FaultProxy::start(&origin.endpoint, Script::new(0)).unwrap();
    let mut client = Client::connect(&proxy.endpoint());
    let head = b"PUT /b/k HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    client.0.get_mut().write_all(head).unwrap();
    assert_eq!(
        read_head(&mut client.0).unwrap(),
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    client.0.get_mut().write_all(b"hello").unwrap();
    assert_eq!(client.receive().unwrap().body, b"hello");
}

#[test]
fn a_delay_and_a_longer_way_take_their_time() {
    let origin = Origin::start();
    let delay = Duration::from_millis(60);
    let script = Script::new(0).on(Requests::any().nth(2), Fault::Delay(delay));
    let round_trip = Duration::from_millis(40);
    let link = Link {
        round_trip,
        bytes_per_second: NonZero::new(1_000_000),
    };
    let proxy = FaultProxy::over(&origin.endpoint, script, link).unwrap();
    let mut client = Client::connect(&proxy.endpoint());
    let mut took = || {
        let began = Instant::now();
        assert!(client.get("/b/k").unwrap().body == body());
        began.elapsed()
    };
    // 100 000 bytes at a million per second, of which the last piece need not have arrived to be read.
    let transfer = Duration::from_millis(80);
    assert!(took() >= round_trip * 2 + transfer);
    assert!(took() >= round_trip + delay + transfer);
    assert_eq!(proxy.injected(0), 1);
}

#[test]
fn connections_do_not_share_a_rate() {
    let origin = Origin::start();
    let link = Link {
        round_trip: Duration::ZERO,
        bytes_per_second: NonZero::new(200_000),
    };
    let proxy = FaultProxy::over(&origin.endpoint, Script::new(0), link).unwrap();
    let at_once = |connections| {
        let began = Instant::now();
        thread::scope(|scope| {
            for _ in 0..connections {
                scope.spawn(|| {
                    let answer = Client::connect(&proxy.endpoint()).get("/b/k");
                    assert!(answer.unwrap().body == body());
                });
            }
        });
        began.elapsed()
    };
    // Half a second, and two for four that share the rate.
    let (alone, together) = (at_once(1), at_once(4));
    assert!(together < alone * 3, "{alone:?} became {together:?}");
}

#[test]
fn a_server_that_ends_the_connection_ends_it_through_the_proxy() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        read_head(&mut BufReader::new(&client)).unwrap();
        (&client)
            .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi")
            .unwrap();
    });
    let proxy = FaultProxy::start(&endpoint, Script::new(0)).unwrap();
    let mut client = Client::connect(&proxy.endpoint());
    assert_eq!(client.get("/").unwrap().body, b"hi");
    assert!(client.is_at_its_end());
}

#[test]
fn a_signature_for_the_proxys_address_holds_at_every_real_server() {
    for server in [&S3sFs as &dyn StoreServer, &SeaweedFs, &Moto, &FakeGcs] {
        let dir = tempfile::tempdir().unwrap();
        let Some(running) = for_test(server, dir.path()) else {
            continue;
        };
        let direct = running.make_bucket("bucket").unwrap();
        let cut = Fault::CutShort { after: 1000 };
        let script = Script::new(0).on(Requests::of(Kind::Get).nth(2), cut);
        let proxy = FaultProxy::start(running.endpoint(), script).unwrap();
        let bucket = direct.at(&proxy.endpoint());
        bucket.put("a", body()).unwrap();
        assert!(bucket.get("a").unwrap() == Some(body()));
        let name = server.name();
        assert!(bucket.get("a").is_err(), "{name}");
        assert_eq!(proxy.injected(0), 1, "{name}");
        assert!(direct.get("a").unwrap() == Some(body()));
    }
}
