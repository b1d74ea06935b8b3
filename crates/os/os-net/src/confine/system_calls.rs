//! Limits on system calls by seccomp: what is dangerous or not needed fails with EPERM, the rest works.
//!
//! A list of what is denied, not of what is allowed: the C library may use a new call in its next version, and a
//! privacy tool that dies of an update is of no use. Calls that are always allowed cost nothing, since the kernel
//! remembers which numbers a filter never looks into (Linux 5.11).

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    sock_filter,
};

use super::{Files, Needs, PartState, Sockets};

/// Numbers from here on belong to the x32 interface of x86-64, which would get around a filter of numbers.
const X32_FIRST: u32 = 0x4000_0000;

/// Nobody needs these: starting programs, looking into other processes, changing the machine, and interfaces of the
/// kernel with a long history of holes.
const NEVER: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_personality,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_vhangup,
    libc::SYS_remap_file_pages,
    libc::SYS_listen,
];

/// Calls that exist only where they are older than their `*at` successors.
#[cfg(target_arch = "x86_64")]
const NEVER_OLD: &[c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_kexec_file_load,
];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_OLD: &[c_long] = &[];

/// Changing what files exist, are called, contain or allow.
const FILE_CHANGES: &[c_long] = &[
    libc::SYS_openat2,
    libc::SYS_truncate,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
];
#[cfg(target_arch = "x86_64")]
const FILE_CHANGES_OLD: &[c_long] = &[
    libc::SYS_creat,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_mknod,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
];
#[cfg(not(target_arch = "x86_64"))]
const FILE_CHANGES_OLD: &[c_long] = &[];

/// Denies what `needs` does not need.
pub(super) fn restrict(needs: &Needs) -> Result<PartState, String> {
    let in_words = |error: &dyn std::error::Error| format!("this kernel refused the filter: {error}");
    let denied = filter(needs).map_err(|error| in_words(&error))?;
    seccompiler::apply_filter(&guard()).map_err(|error| in_words(&error))?;
    seccompiler::apply_filter(&denied).map_err(|error| in_words(&error))?;
    Ok(PartState::On)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn filter(needs: &Needs) -> Result<BpfProgram, seccompiler::Error> {
    let mut rules = Rules::new();
    for call in [NEVER, NEVER_OLD, FILE_CHANGES, FILE_CHANGES_OLD].concat() {
        rules.insert(call, Vec::new());
    }
    if !needs.accepts {
        rules.insert(libc::SYS_accept, Vec::new());
        rules.insert(libc::SYS_accept4, Vec::new());
    }
    deny_opening(&mut rules, &needs.files)?;
    deny_sockets(&mut rules, needs.sockets)?;
    deny_processes(&mut rules)?;
    deny_terminal_input(&mut rules)?;
    if needs.files == Files::None {
        deny_new_code(&mut rules)?;
    }
    let arch = std::env::consts::ARCH.try_into()?;
    let eperm = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, eperm, arch)?.try_into()?)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: i64) -> Result<SeccompCondition, seccompiler::Error> {
    // Arguments compared here are C ints; their upper halves are whatever the caller left in the register.
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value.cast_unsigned() & 0xffff_ffff)?)
}

fn deny(rules: &mut Rules, call: c_long, conditions: Vec<SeccompCondition>) -> Result<(), seccompiler::Error> {
    rules.entry(call).or_default().push(SeccompRule::new(conditions)?);
    Ok(())
}

fn deny_opening(rules: &mut Rules, files: &Files) -> Result<(), seccompiler::Error> {
    let mut opening = vec![(libc::SYS_openat, 2)];
    #[cfg(target_arch = "x86_64")]
    opening.push((libc::SYS_open, 1));
    for (call, flags) in opening {
        if *files == Files::None {
            rules.insert(call, Vec::new());
            continue;
        }
        let tmpfile = libc::O_TMPFILE & !libc::O_DIRECTORY;
        for bit in [libc::O_WRONLY, libc::O_RDWR, libc::O_CREAT, libc::O_TRUNC, tmpfile] {
            let bit = i64::from(bit);
            let set = condition(flags, SeccompCmpOp::MaskedEq(bit.cast_unsigned()), bit)?;
            deny(rules, call, vec![set])?;
        }
    }
    Ok(())
}

fn deny_sockets(rules: &mut Rules, sockets: Sockets) -> Result<(), seccompiler::Error> {
    const TYPE_MASK: u64 = 0xf;
    let mut types = vec![libc::SOCK_RAW, libc::SOCK_RDM, libc::SOCK_DCCP];
    let mut outside = vec![
        condition(0, SeccompCmpOp::Ne, libc::AF_INET.into())?,
        condition(0, SeccompCmpOp::Ne, libc::AF_INET6.into())?,
    ];
    match sockets {
        Sockets::Udp => types.push(libc::SOCK_STREAM),
        Sockets::UdpAndTcp => {
            // Name resolution asks the kernel for addresses and may ask a local daemon for names.
            outside.push(condition(0, SeccompCmpOp::Ne, libc::AF_UNIX.into())?);
            outside.push(condition(0, SeccompCmpOp::Ne, libc::AF_NETLINK.into())?);
        }
    }
    deny(rules, libc::SYS_socket, outside)?;
    for kind in types {
        // A netlink socket is of the raw type too, but cannot send packets.
        let mut conditions = vec![condition(1, SeccompCmpOp::MaskedEq(TYPE_MASK), kind.into())?];
        if kind == libc::SOCK_RAW && sockets == Sockets::UdpAndTcp {
            conditions.push(condition(0, SeccompCmpOp::Ne, libc::AF_NETLINK.into())?);
        }
        deny(rules, libc::SYS_socket, conditions)?;
    }
    Ok(())
}

/// No new processes, no signals to and no limits of other processes. Threads work.
fn deny_processes(rules: &mut Rules) -> Result<(), seccompiler::Error> {
    let own = i64::from(rustix::process::getpid().as_raw_nonzero().get());
    let thread = i64::from(libc::CLONE_THREAD);
    let no_thread = condition(0, SeccompCmpOp::MaskedEq(thread.cast_unsigned()), 0)?;
    deny(rules, libc::SYS_clone, vec![no_thread])?;
    rules.insert(libc::SYS_tkill, Vec::new());
    for call in [libc::SYS_kill, libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo] {
        deny(rules, call, vec![condition(0, SeccompCmpOp::Ne, own)?])?;
    }
    let other = vec![condition(0, SeccompCmpOp::Ne, 0)?, condition(0, SeccompCmpOp::Ne, own)?];
    deny(rules, libc::SYS_prlimit64, other)
}

/// No typing into the terminal that the supervisor was started from.
fn deny_terminal_input(rules: &mut Rules) -> Result<(), seccompiler::Error> {
    for request in [libc::TIOCSTI, libc::TIOCLINUX] {
        let same = condition(1, SeccompCmpOp::Eq, i64::try_from(request).unwrap_or(i64::MAX))?;
        deny(rules, libc::SYS_ioctl, vec![same])?;
    }
    Ok(())
}

/// No memory becomes executable that is not yet; a process that may open no file loads no module either.
fn deny_new_code(rules: &mut Rules) -> Result<(), seccompiler::Error> {
    let executable = i64::from(libc::PROT_EXEC);
    for call in [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
        let set = condition(2, SeccompCmpOp::MaskedEq(executable.cast_unsigned()), executable)?;
        deny(rules, call, vec![set])?;
    }
    Ok(())
}

/// Denies the x32 numbers, and answers `clone3`, whose flags a filter cannot see, as an old kernel would, so that the
/// C library starts its threads by `clone`.
fn guard() -> BpfProgram {
    let instruction = |code: u32, k: u32, if_true: u8| sock_filter {
        code: u16::try_from(code).unwrap_or(u16::MAX),
        jt: if_true,
        jf: 0,
        k,
    };
    let errno = |errno: i32| libc::SECCOMP_RET_ERRNO | errno.cast_unsigned();
    vec![
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, X32_FIRST, 3),
        instruction(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            u32::try_from(libc::SYS_clone3).unwrap_or(u32::MAX),
            1,
        ),
        instruction(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
        instruction(libc::BPF_RET | libc::BPF_K, errno(libc::ENOSYS), 0),
        instruction(libc::BPF_RET | libc::BPF_K, errno(libc::EPERM), 0),
    ]
}
