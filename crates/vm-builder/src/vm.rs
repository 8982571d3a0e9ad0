//! The life of one virtual machine.
//!
//! ```text
//!  Machine ──start──▶ Booting ──ready──▶ Ready ──power_off──▶ ShuttingDown ──▶ (done: disk flushed, QEMU gone)
//! (not started)          │               │   ▲                   │
//!                        │               ▼   │                   │
//!                        │          command, write_file          │
//!                        │      (installing is a row of them)    │
//!                        ▼               ▼                       ▼
//!                     VmError         VmError                 VmError     (or dropped in any state:
//!                                                                          QEMU killed, nothing left)
//! ```
//!
//! Each state is a type, so that no command can be sent to a guest that does not answer yet, or is asked to leave.
//! Whatever is waited for races the machine's death, what QEMU tells of its disk, the phase's time-out and the
//! deadline of the whole ([`Running::unless_over`](running::Running::unless_over)).

mod booting;
mod error;
mod ready;
mod running;
mod shutting_down;

pub(crate) use booting::{Booting, Start};
pub(crate) use ready::Ready;
