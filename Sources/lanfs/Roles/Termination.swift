import LanfsMount
import Synchronization

/// SIGTERM, SIGINT and SIGHUP, which `Lanfs.main` blocked in every thread, as something to await.
enum Termination {
    static func wait() async {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            do throws(MountError) {
                let waiter = Mutex<CheckedContinuation<Void, Never>?>(continuation)
                try Signals.watch { _ in
                    waiter.withLock { waiter in
                        waiter?.resume()
                        waiter = nil
                    }
                }
            } catch {
                StandardError.write("lanfs: \(error)\n")
                continuation.resume()
            }
        }
    }
}
