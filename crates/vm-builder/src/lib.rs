//! Builds snapshots: boots QEMU, installs packages inside the guest, keeps the disk.
//!
//! A package's install script is a stranger's code. What holds it is the virtual machine: QEMU runs
//! in a seccomp sandbox that may not start programs, with no device that it was not given, as a user that owns
//! nothing where root starts it ([`QemuUser`]), and the
//! guest's [`network`] leads to the registries on its allowlist and nowhere else.
//!
//! [`VmBuilder`] makes snapshots; [`GuestCommand`] runs a command in a throw-away
//! machine on top of one; [`Vms::inspect`] tries an image that somebody brought.

mod accelerator;
mod agent_channel;
mod builder;
mod cgroup;
mod command;
mod confinement;
mod deadline;
mod disk_chain;
mod filling;
mod guest_agent;
mod guest_image;
mod handover;
mod host;
mod index;
mod inspect;
mod install;
mod installer;
mod machine;
pub mod network;
mod output;
mod overlay;
mod qemu;
mod qemu_user;
mod qmp;
mod retries;
mod run;
mod sockets;
mod tail;
mod vm;
mod vms;

pub use accelerator::{Accelerator, AcceleratorFault, PROOF, Probed};
pub use builder::VmBuilder;
pub use command::{Input, OutputSink, OutputStream};
pub use guest_agent::GuestExit;
pub use guest_image::{Boot, GuestImage};
pub use host::{TimeOuts, VmHost};
pub use inspect::{FoundInstaller, InspectError, Lack};
pub use installer::InstallerKind;
pub use qemu_user::{ParseQemuUserError, QemuUser};
pub use retries::Retries;
pub use run::GuestCommand;
pub use vms::Vms;
