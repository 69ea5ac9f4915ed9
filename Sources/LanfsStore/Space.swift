import Glibc
import LanfsProtocol
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
    /// Stores that share it.
    private let stores = Atomic<UInt64>(0)
    private let claimed = Atomic<UInt64>(0)
    private let reserve: Monitor<Reserve>
    /// What is held back of a limit, at most; a part of it where the limit is low.
    private static let longestReserve: UInt64 = 16 << 20
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

    /// Bytes that may still be stored: what capacity and file system leave, all that is held back left out.
    public func room() -> UInt64 {
        let limit = capacity - Space.reserve(of: capacity)
        return min(limit - min(limit, used), fileSystemRoom())
    }

    /// Free bytes of the file system above what is kept free; 0 when it cannot be asked.
    ///
    /// - Parameter isDrawing: above all but the reserve of that.
    func fileSystemRoom(isDrawing: Bool = false) -> UInt64 {
        guard let space = try? Disk.space(folder) else { return 0 }
        var kept = kept(of: space.size)
        if isDrawing { kept -= Space.reserve(of: kept) }
        return space.free - min(space.free, kept)
    }

    private func kept(of size: UInt64) -> UInt64 { keepFree ?? max(size / 100, 64 << 20) }

    /// Counts bytes against the capacity; false, and nothing counted, when they do not fit.
    ///
    /// - Parameter isDrawing: the reserve may be used.
    func claim(_ bytes: UInt64, isDrawing: Bool = false) -> Bool {
        let (_, after) = claimed.add(bytes, ordering: .relaxed)
        if after <= capacity - (isDrawing ? 0 : Space.reserve(of: capacity)) { return true }
        release(bytes)
        return false
    }

    // MARK: What is held back for small blocks

    /// Deleting needs room: the commit that deletes is a block, and so are the nodes of the tree that it changes. When all
    /// else is full small blocks still get this much of a limit (section 7). Where that is not even one, nothing is held back.
    static func reserve(of limit: UInt64) -> UInt64 {
        let part = min(limit / 16, longestReserve)
        return part - part % UInt64(Limits.carriedSize)
    }

    /// How much each volume may have drawn of the reserve at a time: what one fills with small blocks must not be what another
    /// needs in order to delete.
    ///
    /// - Parameter isDiskShort: of what is kept free in the file system, not of the capacity.
    func share(isDiskShort: Bool) -> UInt64 {
        let limit = isDiskShort ? (try? Disk.space(folder)).map { kept(of: $0.size) } ?? 0 : capacity
        return Space.reserve(of: limit) / max(1, stores.load(ordering: .relaxed))
    }

    /// A volume's store was opened.
    func addStore() { stores.add(1, ordering: .relaxed) }

    func removeStore() { stores.subtract(1, ordering: .relaxed) }

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
