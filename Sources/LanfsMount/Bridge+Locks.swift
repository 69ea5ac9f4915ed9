import CFuse
import Glibc
import LanfsClient
import LanfsFileSystem
import SystemPackage

/// fcntl(2) and flock(2) locks: never only local.
extension Bridge {
    func testLock(_ request: Request, _ handle: Handle, owner: UInt64, _ lock: flock) {
        guard let range = LockRange(lock) else {
            request.fail(.invalidArgument)
            return
        }
        settle(request, operations.testLock(handle, owner: owner, range: range), .readOnly, as: .lock)
    }

    func setLock(_ request: Request, _ handle: Handle, owner: UInt64, _ lock: flock, wait: Bool) {
        guard let range = LockRange(lock) else {
            request.fail(.invalidArgument)
            return
        }
        let outcome = operations.setLock(handle, owner: owner, range: range, wait: wait)
        settle(request, outcome, wait ? .lock : .changing, as: .done)
    }

    func setWholeFileLock(_ request: Request, _ handle: Handle, owner: UInt64, operation: Int32) {
        let kind: LockRange.Kind
        switch operation & ~LOCK_NB {
        case LOCK_SH: kind = .shared
        case LOCK_EX: kind = .exclusive
        case LOCK_UN: kind = .unlock
        default:
            request.fail(.invalidArgument)
            return
        }
        let wait = operation & LOCK_NB == 0 && kind != .unlock
        let outcome = operations.setWholeFileLock(handle, owner: owner, kind: kind, wait: wait)
        settle(request, outcome, wait ? .lock : .changing, as: .done)
    }
}
