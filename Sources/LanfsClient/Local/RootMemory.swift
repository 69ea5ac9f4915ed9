import LanfsLocal
import LanfsProtocol
import Synchronization
import SystemPackage

/// The last chosen root this machine has seen of one volume, on disk (F1), and the server that showed it.
///
/// Written at most once a second and at the end: what a crash loses of it is a second of memory, not of data.
final class RootMemory: Sendable {
    private struct State {
        var newest: RollbackMemory?
        var server: ServerID?
        var writtenAt: ContinuousClock.Instant?
        var isWritten = true
    }

    private let path: FilePath
    private let state: Mutex<State>
    /// Held while the file is written: of two that save at the same time the later one has the newer root.
    private let file = Mutex(())

    init(volume: VolumeID, directories: UserDirectories) throws(LocalFileError) {
        path = directories.state(ofVolume: volume.hex).appending("root")
        var state = State()
        if let bytes = try PrivateFile.read(path, limit: 4096), bytes.count > ServerID.size {
            state.server = ServerID(bytes.prefix(ServerID.size))
            state.newest = try? RollbackMemory(encoded: Array(bytes.dropFirst(ServerID.size)))
        }
        self.state = Mutex(state)
    }

    var newest: RollbackMemory? { state.withLock { $0.newest } }
    /// Who keeps the volume, as of the last time.
    var server: ServerID? { state.withLock { $0.server } }

    /// - Returns: whether it is time to save, which waits for the disk.
    func note(_ memory: RollbackMemory, at server: ServerID) -> Bool {
        state.withLock { state in
            state.newest = memory
            state.server = server
            state.isWritten = false
            let isDue = state.writtenAt.map { ContinuousClock.now - $0 > .seconds(1) } ?? true
            if isDue { state.writtenAt = .now }
            return isDue
        }
    }

    func save() throws(LocalFileError) {
        try file.withLock { _ throws(LocalFileError) in
            let bytes = state.withLock { state -> [UInt8]? in
                guard !state.isWritten, let newest = state.newest, let server = state.server else { return nil }
                state.isWritten = true
                return server.bytes + newest.encoded
            }
            if let bytes { try PrivateFile.write(bytes, to: path) }
        }
    }
}
