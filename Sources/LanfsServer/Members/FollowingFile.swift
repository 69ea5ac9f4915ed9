import LanfsLocal
import Logging
import Synchronization
import SystemPackage

/// A small file that follows what memory says: whole, always the newest, written by one thread at a time.
final class FollowingFile: Sendable {
    private struct State {
        var isStale = false
        var isWriting = false
    }

    private let path: FilePath
    private let logger: Logger
    private let state = Mutex(State())

    init(_ path: FilePath, logger: Logger) {
        self.path = path
        self.logger = logger
    }

    /// `nil`: there is none, or it cannot be read.
    func read(limit: Int) -> [UInt8]? {
        do {
            return try PrivateFile.read(path, limit: limit, secret: false)
        } catch {
            logger.warning("not used: \(error)")
            return nil
        }
    }

    /// Writes what `contents` says now, if it says anything. Blocks, unless another thread is writing: that one then asks
    /// once more.
    func follow(_ contents: () -> [UInt8]?) {
        let isFirst = state.withLock { state in
            state.isStale = true
            defer { state.isWriting = true }
            return !state.isWriting
        }
        guard isFirst else { return }
        while mustWrite() {
            guard let bytes = contents() else { continue }
            do {
                try PrivateFile.write(bytes, to: path)
            } catch {
                logger.error("not remembered for the next start: \(error)")
            }
        }
    }

    private func mustWrite() -> Bool {
        state.withLock { state in
            defer { state.isStale = false }
            state.isWriting = state.isStale
            return state.isStale
        }
    }
}
