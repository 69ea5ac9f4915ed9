import Glibc
import SystemPackage

/// Why a folder could not be mounted or unmounted: what failed, on what, why, and what to do next.
public enum MountError: Error, Equatable, Sendable, CustomStringConvertible {
    case mountPointMissing(String)
    case mountPointNotDirectory(String)
    case mountPointNotEmpty(String)
    case mountPointUnusable(String, Errno)
    case alreadyMounted(String)
    /// A dead mount of something else lies there: not ours to clear.
    case deadForeignMount(String, type: String)
    case staleMountStays(String, reason: String)
    case deviceUnavailable(Errno)
    case helperMissing
    /// fusermount3 said no, in its own words.
    case helperRefused(String)
    case kernelRefused(String, Errno)
    case kernelTooOld(String)
    case option(String, reason: String)
    case libraryRefused(String)
    case threadsUnavailable(Errno)
    case unmountedMeanwhile(String)
    case noAnswer(String, seconds: Int)

    public var description: String {
        switch self {
        case .mountPointMissing(let path):
            "cannot mount on \(path): there is no such folder; make it first: mkdir -p '\(path)'"
        case .mountPointNotDirectory(let path):
            "cannot mount on \(path): it is not a folder; choose another, or make one with mkdir -p"
        case .mountPointNotEmpty(let path):
            "cannot mount on \(path): the folder is not empty and its contents would be hidden; "
                + "choose an empty one, or insist with -o nonempty"
        case .mountPointUnusable(let path, let errno):
            "cannot mount on \(path): \(errno)"
        case .alreadyMounted(let path):
            "\(path) has a lanfs volume mounted already; unmount it first: fusermount3 -u '\(path)'"
        case .deadForeignMount(let path, let type):
            "cannot mount on \(path): a dead mount of type \(type) is in the way; clear it: fusermount3 -uz '\(path)'"
        case .staleMountStays(let path, let reason):
            "the dead mount on \(path) could not be cleared: \(reason); try: umount -l '\(path)' as root"
        case .deviceUnavailable(let errno):
            Self.deviceHint(errno)
        case .helperMissing:
            "cannot mount without root: fusermount3 is not installed; install it: apt install fuse3 (or your system's fuse3)"
        case .helperRefused(let words):
            "fusermount3 refused to mount: \(words)"
        case .kernelRefused(let path, let errno):
            "the kernel refused to mount on \(path): \(errno)"
        case .kernelTooOld(let what):
            "the kernel's FUSE is too old: \(what); Linux 4.20 or later is needed"
        case .option(let option, let reason):
            "mount option '\(option)': \(reason)"
        case .libraryRefused(let what):
            "libfuse could not \(what)"
        case .threadsUnavailable(let errno):
            "cannot start the threads that answer the kernel: \(errno)"
        case .unmountedMeanwhile(let path):
            "\(path) was unmounted by somebody else while it was being mounted; try again"
        case .noAnswer(let path, let seconds):
            "\(path) is mounted but did not answer within \(seconds) s"
        }
    }

    private static func deviceHint(_ errno: Errno) -> String {
        switch errno {
        case .noSuchFileOrDirectory, .noSuchAddressOrDevice, Errno(rawValue: ENODEV):
            "this kernel has no /dev/fuse; load it: sudo modprobe fuse (in a container: run it with --device /dev/fuse)"
        case .permissionDenied, .notPermitted:
            "/dev/fuse may not be opened by this user; allow it: sudo chmod a+rw /dev/fuse"
        default:
            "/dev/fuse could not be opened: \(errno)"
        }
    }
}
