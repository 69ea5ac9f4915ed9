import Glibc
import Synchronization
import SystemPackage

/// The disk space that all volumes of a server share: the capacity it lends, and the part of the file system that stays
/// free whatever happens.
public final class Space: Sendable {
    private let folder: FilePath
    /// Bytes lent to all volumes together.
    public let capacity: UInt64
    /// Bytes of the file system that stay free; nil: 1% of it, at least 64 MiB.
    private let keepFree: UInt64?
    private let claimed = Atomic<UInt64>(0)
    private let reserve: Monitor<Reserve>
    private let relief = Monitor<(@Sendable (UInt64) -> UInt64)?>(nil)

    /// Space held back so that logs can grow, and so deletions go on, when everything else is full (section 7).
    private struct Reserve {
        var path: FilePath
        var size: UInt64
        var held = false
    }

    public init(
        folder: FilePath, capacity: UInt64 = .max, keepFree: UInt64? = nil, reserveSize: UInt64 = 8 << 20
    ) {
        self.folder = folder
        self.capacity = capacity
        self.keepFree = keepFree
        reserve = Monitor(Reserve(path: folder.appending("reserve"), size: reserveSize))
        restoreReserve()
    }

    /// Bytes of blocks on disk, all volumes together.
    public var used: UInt64 { claimed.load(ordering: .relaxed) }

    /// Bytes that may still be stored: what capacity and file system leave.
    public func room() -> UInt64 {
        min(capacity - min(capacity, used), fileSystemRoom())
    }

    /// Free bytes of the file system above what is kept free; 0 when it cannot be asked.
    func fileSystemRoom() -> UInt64 {
        guard let space = try? Disk.space(folder) else { return 0 }
        let kept = keepFree ?? max(space.size / 100, 64 << 20)
        return space.free - min(space.free, kept)
    }

    /// Counts bytes against the capacity; false, and nothing counted, when they do not fit.
    func claim(_ bytes: UInt64) -> Bool {
        let (_, after) = claimed.add(bytes, ordering: .relaxed)
        if after <= capacity { return true }
        release(bytes)
        return false
    }

    /// Counts bytes that are on disk already.
    func count(_ bytes: UInt64) { claimed.add(bytes, ordering: .relaxed) }

    func release(_ bytes: UInt64) { claimed.subtract(bytes, ordering: .relaxed) }

    /// Gives the reserve up, so that one more log write fits.
    func releaseReserve() {
        reserve.withLock { reserve in
            try? Disk.remove(reserve.path)
            reserve.held = false
        }
    }

    /// Takes the reserve again once there is room.
    func restoreReserve() {
        reserve.withLock { reserve in
            guard !reserve.held, reserve.size > 0 else { return }
            guard let file = try? OpenFile(reserve.path, O_RDWR | O_CREAT, action: "create") else { return }
            do throws(StoreError) {
                // Where space cannot be held like this the file stays empty and nothing is lost but the safety.
                _ = try file.allocate(from: 0, to: reserve.size)
                reserve.held = true
            } catch {
                try? Disk.remove(reserve.path)
            }
        }
    }

    /// Who can give back quarantined space of any volume; answers how many bytes it freed.
    func onShortage(_ body: @escaping @Sendable (UInt64) -> UInt64) {
        relief.withLock { $0 = body }
    }

    func relieve(_ bytes: UInt64) -> UInt64 {
        relief.withLock { $0 }?(bytes) ?? 0
    }
}
