//! A real server behind a network that fails: the right bytes or a told error, and nothing half-made.

use std::fs;
use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_layer::{CacheLayer, LayerError, LayerErrorKind, Lookup, Snapshot};
use futures::TryStreamExt;
use l3_remote::RemoteLayer;
use store_testkit::faults::{Fault, FaultProxy, Kind, Link, Requests, Script, Seen};
use store_testkit::servers::S3sFs;

use crate::host::Host;
use crate::place::{Place, impatient, layer, location};

/// The seed of what is random in a fault.
const SEED: u64 = 20;

/// A server with a snapshot in it, and a way to it that fails by a script.
struct Scene {
    place: Place,
    proxy: Arc<FaultProxy>,
    host: Host,
    snapshot: Snapshot,
}

/// A connection of which is too slow for a download in one stream.
const NARROW: Link = Link {
    round_trip: Duration::ZERO,
    bytes_per_second: NonZero::new(64_000_000),
};

impl Scene {
    async fn new(script: Script) -> Option<Self> {
        let place = Place::on(&S3sFs)?;
        let host = Host::new("base");
        let snapshot = host.large_snapshot("a==1");
        let bucket = place.bucket.as_ref().unwrap();
        let proxy = FaultProxy::over(&bucket.endpoint, script, NARROW).unwrap();
        Some(Self {
            place,
            proxy: Arc::new(proxy),
            host,
            snapshot,
        })
    }

    /// The tier by way of the proxy.
    fn failing(&self) -> RemoteLayer {
        let bucket = self.place.bucket.as_ref().unwrap();
        layer(location(&bucket.at(&self.proxy.endpoint()), "team/a"))
    }

    async fn uploaded(script: Script) -> Option<Self> {
        let scene = Self::new(script).await?;
        scene.place.layer().put(&scene.snapshot).await.unwrap();
        Some(scene)
    }

    async fn get(&self) -> Result<Lookup, LayerError> {
        let spec = self.host.spec("a==1");
        self.failing().get(&spec, &self.host.staging).await
    }

    fn assert_whole(&self, got: Lookup) {
        let got = got.hit().expect("it is there");
        assert!(fs::read(got.path()).unwrap() == fs::read(self.snapshot.path()).unwrap());
    }

    /// Nothing but the snapshot that the test itself made.
    fn assert_nothing_staged(&self) {
        assert_eq!(self.host.staging_files(), 1);
    }

    /// The keys of the entries in the bucket, asked on the way that does not fail.
    async fn entries(&self) -> usize {
        let entries: Vec<_> = self.place.layer().list().try_collect().await.unwrap();
        entries.len()
    }

    /// The parts of unfinished uploads that the server has: it keeps them as files beside the buckets.
    fn parts(&self) -> usize {
        let data = self.place.dir.path().join("data").read_dir().unwrap();
        data.filter(|file| {
            let name = file.as_ref().unwrap().file_name();
            name.to_string_lossy().starts_with(".upload_id-")
        })
        .count()
    }
}

macro_rules! downloads {
    ($($name:ident: $requests:expr, $fault:expr => $outcome:ident;)+) => {
        $(#[tokio::test]
        async fn $name() {
            let script = Script::new(SEED).on($requests, $fault);
            let Some(scene) = Scene::uploaded(script).await else { return };
            let got = scene.get().await;
            assert!(scene.proxy.injected(0) > 0, "{:?}", scene.proxy.counts());
            $outcome(&scene, got);
        })+
    };
}

fn the_right_bytes(scene: &Scene, got: Result<Lookup, LayerError>) {
    scene.assert_whole(got.unwrap());
}

fn corrupt(scene: &Scene, got: Result<Lookup, LayerError>) {
    told(scene, got, LayerErrorKind::Corrupt);
}

fn denied(scene: &Scene, got: Result<Lookup, LayerError>) {
    told(scene, got, LayerErrorKind::Denied);
}

fn unavailable_for_now(scene: &Scene, got: Result<Lookup, LayerError>) {
    told(scene, got, LayerErrorKind::Unavailable { temporary: true });
}

fn told(scene: &Scene, got: Result<Lookup, LayerError>, kind: LayerErrorKind) {
    let error = got.map(drop).unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    scene.assert_nothing_staged();
}

fn ranges() -> Requests {
    Requests::of(Kind::RangedGet)
}

downloads! {
    a_download_outlives_a_burst_of_slow_downs:
        ranges().times(3), Fault::slow_down() => the_right_bytes;
    a_download_outlives_internal_errors:
        ranges().nth(2).times(2), Fault::internal_error() => the_right_bytes;
    a_download_of_a_store_that_only_fails_is_told_as_temporary:
        ranges().for_ever(), Fault::internal_error() => unavailable_for_now;
    a_download_outlives_a_connection_dropped_before_the_answer:
        ranges(), Fault::DropBefore => the_right_bytes;
    a_download_outlives_a_connection_dropped_after_the_server_has_answered:
        ranges(), Fault::DropAfter => the_right_bytes;
    a_download_goes_on_where_a_dropped_connection_broke_it_off:
        ranges().times(2), Fault::DropInAnswer { after: 3_000_000 } => the_right_bytes;
    a_download_goes_on_where_a_body_was_cut_short:
        ranges().times(3), Fault::CutShort { after: 100_000 } => the_right_bytes;
    a_download_with_flipped_bits_is_corrupt:
        ranges().nth(2), Fault::FlipBits { bits: 3 } => corrupt;
    a_download_with_bits_flipped_in_the_first_range_is_corrupt:
        ranges(), Fault::FlipBits { bits: 3 } => corrupt;
    a_download_that_stalls_is_cut_off_and_goes_on:
        ranges().nth(2), Fault::Stall { after: 1_000_000 } => the_right_bytes;
    a_download_from_a_store_that_is_silent_for_ever_is_told_as_temporary:
        ranges().for_ever(), Fault::Silence => unavailable_for_now;
    a_download_that_drips_is_let_go_on_however_long_it_takes:
        ranges().nth(2), Fault::Drip { bytes: 1 << 20, every: Duration::from_millis(500) } => the_right_bytes;
    a_download_with_too_large_a_content_length_is_taken_up_again:
        ranges(), Fault::WrongLength { by: 1000 } => the_right_bytes;
    a_download_with_too_small_a_content_length_is_told_as_temporary:
        ranges().nth(2).for_ever(), Fault::WrongLength { by: -1000 } => unavailable_for_now;
    a_credential_that_expires_in_the_midst_of_a_download_is_told_as_denied:
        ranges().nth(2).for_ever(), Fault::expired_token() => denied;
}

macro_rules! uploads {
    ($($name:ident: $requests:expr, $fault:expr => $kind:expr;)+) => {
        $(#[tokio::test]
        async fn $name() {
            let script = Script::new(SEED).on($requests, $fault);
            let Some(scene) = Scene::new(script).await else { return };
            let layer = scene.failing();
            let put = layer.put(&scene.snapshot).await;
            assert!(scene.proxy.injected(0) > 0, "{:?}", scene.proxy.counts());
            let told: Option<LayerErrorKind> = $kind;
            match told {
                None => {
                    put.unwrap();
                    let spec = scene.host.spec("a==1");
                    let got = scene.place.layer().get(&spec, &scene.host.staging).await;
                    scene.assert_whole(got.unwrap());
                }
                Some(kind) => {
                    let error = put.map(drop).unwrap_err();
                    assert_eq!(error.kind(), kind, "{error:?}");
                    assert_eq!(scene.entries().await, 0);
                }
            }
            layer.settle().await;
            assert_eq!(scene.parts(), 0);
        })+
    };
}

const FOR_NOW: LayerErrorKind = LayerErrorKind::Unavailable { temporary: true };

uploads! {
    an_upload_outlives_a_burst_of_slow_downs:
        Requests::of(Kind::UploadPart).times(3), Fault::slow_down() => None;
    an_upload_outlives_internal_errors_at_its_beginning:
        Requests::of(Kind::CreateMultipart).times(2), Fault::internal_error() => None;
    an_upload_outlives_a_connection_dropped_in_a_part:
        Requests::of(Kind::UploadPart).nth(2), Fault::DropInRequest { after: 1_000_000 } => None;
    an_upload_outlives_a_part_that_arrived_and_was_not_confirmed:
        Requests::of(Kind::UploadPart), Fault::DropAfter => None;
    an_upload_outlives_a_store_that_is_silent_about_a_part:
        Requests::of(Kind::UploadPart).nth(2), Fault::Silence => None;
    an_upload_outlives_an_error_behind_a_success_on_completion:
        Requests::of(Kind::CompleteMultipart), Fault::Answer { status: 200, code: "InternalError" } => None;
    an_upload_to_a_store_that_only_fails_is_told_and_leaves_nothing:
        Requests::of(Kind::UploadPart).nth(2).for_ever(), Fault::internal_error() => Some(FOR_NOW);
    an_upload_that_cannot_be_completed_is_told_and_leaves_nothing:
        Requests::of(Kind::CompleteMultipart).for_ever(), Fault::Answer { status: 200, code: "InternalError" } => Some(FOR_NOW);
    a_credential_that_expires_in_the_midst_of_an_upload_is_told_as_denied:
        Requests::of(Kind::UploadPart).nth(2).for_ever(), Fault::expired_token() => Some(LayerErrorKind::Denied);
}

#[tokio::test]
async fn a_store_that_hangs_up_on_an_upload_which_it_refuses_is_told_as_denied() {
    let script = Script::new(SEED)
        .on(
            Requests::of(Kind::UploadPart).for_ever(),
            Fault::DropInRequest { after: 1000 },
        )
        .on(Requests::of(Kind::Head).for_ever(), Fault::expired_token());
    let Some(scene) = Scene::new(script).await else {
        return;
    };
    let put = scene.failing().put(&scene.snapshot).await;
    assert!(scene.proxy.injected(0) > 0, "{:?}", scene.proxy.counts());
    let error = put.map(drop).unwrap_err();
    assert_eq!(error.kind(), LayerErrorKind::Denied, "{error:?}");
}

#[tokio::test]
async fn an_upload_of_which_nothing_is_taken_any_more_is_cut_off_and_sent_again() {
    let fault = Fault::StallInRequest { after: 100_000 };
    let script = Script::new(SEED).on(Requests::of(Kind::UploadPart).nth(2), fault);
    let Some(scene) = Scene::new(script).await else {
        return;
    };
    // Parts are as large as they can be, so that the sockets on the way do not hold a whole one.
    let snapshot = scene.host.incompressible_snapshot("b==1", "96M");
    let mut patience = impatient();
    patience.part = Duration::from_mins(10);
    let bucket = scene.place.bucket.as_ref().unwrap();
    let location = location(&bucket.at(&scene.proxy.endpoint()), "team/a");
    let layer = RemoteLayer::with_patience(location, &patience).unwrap();
    let began = Instant::now();
    layer.put(&snapshot).await.unwrap();
    assert_eq!(scene.proxy.injected(0), 1);
    assert!(
        began.elapsed() < patience.part,
        "silence did not cut it off"
    );
}

#[tokio::test]
async fn an_upload_that_is_cancelled_has_the_store_forget_its_parts() {
    let script = Script::new(SEED).on(Requests::of(Kind::UploadPart), Fault::Silence);
    let Some(scene) = Scene::new(script).await else {
        return;
    };
    let layer = scene.failing();
    // More parts than are under way at once: the first one, of which nothing is heard, holds up the last.
    let snapshot = scene.host.incompressible_snapshot("b==1", "96M");
    let four_parts = |seen: &[Seen]| {
        let parts = seen.iter().filter(|seen| seen.kind == Kind::UploadPart);
        parts.count() >= 4
    };
    let proxy = scene.proxy.clone();
    let began =
        tokio::task::spawn_blocking(move || proxy.wait_until(Duration::from_secs(30), four_parts));
    tokio::select! {
        put = layer.put(&snapshot) => panic!("the store said nothing, and it ended: {put:?}"),
        began = began => assert!(began.unwrap()),
    }
    layer.settle().await;
    assert_eq!(scene.parts(), 0);
    assert_eq!(scene.entries().await, 0);
}
