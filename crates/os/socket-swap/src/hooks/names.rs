//! The other names under which libc exports calls that we stand in front of.
//!
//! Programs are seldom linked to these, but what is linked to one would go around us: it would read the bare socket, or close a
//! number that we still know.

use super::{descriptors, transfers, waiting};

/// Exports `$name` as a jump to the hook `$call`, with all registers and the stack as they were.
macro_rules! names {
    ($($name:ident is $call:path;)*) => {$(
        /// # Safety
        /// As for the call of libc of this name.
        #[allow(non_snake_case, reason = "libc's name")]
        #[cfg_attr(not(any(test, fuzzing)), unsafe(no_mangle))]
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            #[cfg(target_arch = "x86_64")]
            core::arch::naked_asm!("jmp {call}", call = sym $call);
            #[cfg(target_arch = "aarch64")]
            core::arch::naked_asm!("b {call}", call = sym $call);
        }
    )*};
}

names! {
    __read is transfers::read;
    __write is transfers::write;
    __send is transfers::send;
    // What `preadv2` and `pwritev2` become in programs with offsets of 64 bits; there are no others here.
    preadv64v2 is transfers::preadv2;
    pwritev64v2 is transfers::pwritev2;
    __close is descriptors::close;
    __connect is descriptors::connect;
    __dup2 is descriptors::dup2;
    __fcntl is descriptors::fcntl;
    _IO_fdopen is descriptors::fdopen;
    __poll is waiting::poll;
    __select is waiting::select;
}
