use cache_key::DiskFormat;
use cache_layer::{BuildError, InPhase, Phase, ProgressSink, Snapshot, Staging};

use crate::command::{Command, Input, OutputSink};
use crate::disk_chain::DiskChain;
use crate::guest_agent::GuestExit;
use crate::guest_image::GuestImage;
use crate::network::{Allowlist, proxy_url};
use crate::overlay;
use crate::vms::Vms;

/// A command to run in a throw-away virtual machine.
///
/// What the command writes to the machine's disk is gone with it.
pub struct GuestCommand<'a> {
    /// The program, found on the guest's `PATH`, and its arguments.
    pub argv: Vec<String>,
    /// The hosts that the command may reach through the proxy that `HTTPS_PROXY` names in its environment;
    /// `None` for a machine without a network.
    pub network: Option<Allowlist>,
    /// What the command reads; without it, an end of file.
    pub input: Option<&'a mut Input<'a>>,
    /// Where its output goes as it comes.
    pub output: &'a mut OutputSink<'a>,
}

impl Vms {
    /// Runs `command` in a machine on top of `snapshot`, which was built on `image`, and gives its exit. It
    /// may take as long as it likes; dropping the future ends the machine. `progress` hears of the boot.
    ///
    /// # Errors
    ///
    /// The machine could not be started, or died. A command that fails is no error.
    pub async fn run(
        &self,
        image: &GuestImage,
        snapshot: &Snapshot,
        staging: &Staging,
        progress: &dyn ProgressSink,
        command: GuestCommand<'_>,
    ) -> Result<GuestExit, BuildError> {
        let disk = staging.file(snapshot.key());
        let qemu_img = &self.host().qemu_img;
        overlay::create(qemu_img, disk.path(), snapshot.path(), DiskFormat::Qcow2).await?;
        let phase = InPhase::begin(progress, snapshot.key(), Phase::Boot);
        let GuestCommand {
            argv,
            network,
            input,
            output,
        } = command;
        let proxy = network.as_ref().map(|_| ("HTTPS_PROXY", proxy_url()));
        let chain = DiskChain::over_snapshot(disk.path(), snapshot.path(), &image.base);
        let mut vm = self.boot(image, chain, network, None).await?;
        phase.done();
        let command = Command {
            argv,
            env: proxy.into_iter().collect(),
            input,
            output,
        };
        Ok(vm.command(Phase::Run, command, None).await?)
    }
}
