import Glibc
import LanfsProtocol
import SystemPackage

/// The segment that is appended to.
struct Tail {
    struct Current {
        var segment: UInt32
        var file: OpenFile
        /// Where the next record goes.
        var next: UInt64
        /// The file has disk space up to here.
        var allocated: UInt64
    }

    var current: Current?
}

/// A range of a segment that belongs to one put.
struct Place {
    var segment: UInt32
    var file: OpenFile
    var offset: UInt64
    /// Reserving it closed the segment before, which can be sealed.
    var closedAnother = false
    /// Bytes of the reserve that it took.
    var drawn: UInt64 = 0
}

enum SegmentFile {
    static let reading: Int32 = O_RDONLY
    static let appending: Int32 = O_RDWR
    static let creating: Int32 = O_RDWR | O_CREAT | O_EXCL
    /// Disk space is allocated so far ahead: it is a reservation, and a flush then has no file length to write.
    static let allocation: ClosedRange<UInt64> = 256 << 10...16 << 20
    /// Written pages are handed to the disk in such steps, so that a flush finds little left to do.
    static let writeback: UInt64 = 8 << 20
}

extension BlockStore {
    private enum Claim {
        case counted
        case overQuota(left: UInt64)
        case overCapacity
    }

    /// Counts the bytes against quota and capacity before anything is written; makes room from quarantine if it must.
    ///
    /// - Parameter mayDraw: when there is none, from this volume's share of the reserve.
    /// - Returns: bytes of the reserve that it took.
    func claim(_ span: UInt64, mayDraw: Bool) throws(StoreError) -> UInt64 {
        while true {
            let claim: Claim = state.withLock { state in
                let left = state.quotaLeft(isDrawing: mayDraw)
                guard span <= left else { return .overQuota(left: left) }
                guard space.claim(span) else { return .overCapacity }
                state.usedBytes += span
                // Nobody has anything of it any more.
                if !state.drawn.isDiskShort { state.drawn.bytes = 0 }
                return .counted
            }
            switch claim {
            case .counted: return 0
            case .overQuota(let left):
                guard reclaimEarly(span) > 0 else {
                    throw .full(.quota, needed: span, available: left, path: folder)
                }
            case .overCapacity:
                if makeRoom(span) { continue }
                if mayDraw, draw(span, isDiskShort: false) { return span }
                let left = space.capacity - Space.reserve(of: space.capacity)
                throw .full(.capacity, needed: span, available: left - min(left, space.used), path: folder)
            }
        }
    }

    /// Section 7: takes the bytes from this volume's share of the reserve, and where it is the capacity that is short, counts them.
    private func draw(_ span: UInt64, isDiskShort: Bool) -> Bool {
        let share = space.share(isDiskShort: isDiskShort)
        return state.withLock { state in
            guard span <= share, state.drawn.bytes <= share - span else { return false }
            if !isDiskShort {
                guard space.claim(span, isDrawing: true) else { return false }
                state.usedBytes += span
            }
            state.drawn.bytes += span
            if isDiskShort { state.drawn.isDiskShort = true }
            return true
        }
    }

    func count(_ span: UInt64) {
        state.withLock { $0.usedBytes += span }
        space.count(span)
    }

    /// - Parameter drawn: what of it came from the reserve.
    func release(_ span: UInt64, drawn: UInt64) {
        state.withLock { state in
            state.usedBytes -= span
            state.drawn.bytes -= min(state.drawn.bytes, drawn)
        }
        space.release(span)
    }

    /// Reclaims quarantined blocks early, this volume's first; false when there are none left.
    func makeRoom(_ bytes: UInt64) -> Bool {
        reclaimEarly(bytes) > 0 || space.relieve(bytes) > 0
    }

    /// Reserves a range for one record: the only moment at which puts wait for each other.
    ///
    /// - Parameter mayDraw: as for `claim`.
    func reserve(_ span: UInt64, mayDraw: Bool = false) throws(StoreError) -> Place {
        var (isDrawing, hasTried) = (false, false)
        while true {
            do throws(StoreError) {
                var place = try tail.withLock { (tail) throws(StoreError) in
                    try reserve(span, in: &tail, isDrawing: isDrawing)
                }
                if isDrawing { place.drawn = span }
                return place
            } catch {
                if isDrawing { state.withLock { $0.drawn.bytes -= min($0.drawn.bytes, span) } }
                isDrawing = false
                guard case .full(.fileSystem, _, _, _) = error else { throw error }
                if makeRoom(span) { continue }
                guard mayDraw, !hasTried, draw(span, isDiskShort: true) else { throw error }
                (isDrawing, hasTried) = (true, true)
            }
        }
    }

    private func reserve(_ span: UInt64, in tail: inout Tail, isDrawing: Bool) throws(StoreError) -> Place {
        var closedAnother = false
        if let current = tail.current,
            current.next + span > options.segmentSize
                || state.withLock({ $0.segments[current.segment]?.isClosed != false })
        {
            close(current)
            tail.current = nil
            closedAnother = true
        }
        if tail.current == nil { tail.current = try createSegment(firstSpan: span, isDrawing: isDrawing) }
        guard var current = tail.current else { throw .closed(path: folder) }
        let end = current.next + span
        if end > current.allocated { try allocate(&current, to: end, isDrawing: isDrawing) }
        let place = Place(
            segment: current.segment, file: current.file, offset: current.next, closedAnother: closedAnother)
        current.next = end
        tail.current = current
        state.withLock { state in
            state.segments[current.segment]?.writers += 1
            state.segments[current.segment]?.end = end
        }
        return place
    }

    private func close(_ current: Tail.Current) {
        state.withLock { $0.segments[current.segment]?.isClosed = true }
        // What was allocated ahead is given back; failing costs disk space, nothing else.
        if current.allocated > current.next { try? current.file.truncate(to: current.next) }
    }

    private func createSegment(firstSpan: UInt64, isDrawing: Bool) throws(StoreError) -> Tail.Current {
        let needed = Layout.page + firstSpan
        let room = space.fileSystemRoom(isDrawing: isDrawing)
        guard room >= needed else { throw .full(.fileSystem, needed: needed, available: room, path: folder) }
        while true {
            let number = try state.withLock { (state) throws(StoreError) in
                // Only a file that somebody put there has a number near the end.
                guard state.nextSegment < .max else {
                    throw .stopped(path: folder, reason: "a segment has the highest number there can be; move it away")
                }
                defer { state.nextSegment += 1 }
                return state.nextSegment
            }
            let path = Segment.path(number, in: folder.appending("segments"))
            let file: OpenFile
            do throws(StoreError) {
                file = try OpenFile(path, SegmentFile.creating, action: "create")
            } catch {
                if error.errno == .fileExists { continue }
                throw error.whenDiskIsFull(needed: needed)
            }
            do throws(StoreError) {
                try file.write(SegmentHeader.encode(volume: volume, segment: number, hash: hash), at: 0)
            } catch {
                try? Disk.remove(path)
                throw error.whenDiskIsFull(needed: needed)
            }
            state.withLock { state in
                let segment = Segment(number: number, folder: folder.appending("segments"), end: Layout.page)
                segment.appendFile = file
                state.segments[number] = segment
                state.keepOpen(file, number, limit: options.openFiles)
                state.dirty.insert(number)
                state.folderIsDirty = true
            }
            return Tail.Current(segment: number, file: file, next: Layout.page, allocated: 0)
        }
    }

    /// Allocates ahead, more for a segment that has grown; no further than needed when room is short.
    private func allocate(_ current: inout Tail.Current, to end: UInt64, isDrawing: Bool) throws(StoreError) {
        let ahead = min(max(end / 2, SegmentFile.allocation.lowerBound), SegmentFile.allocation.upperBound)
        let needed = end - max(current.allocated, current.next)
        let room = space.fileSystemRoom(isDrawing: isDrawing)
        guard needed <= room else { throw .full(.fileSystem, needed: needed, available: room, path: folder) }
        if !isDrawing { state.withLock { $0.drawn.isDiskShort = false } }
        let target = min(Layout.roundUp(end + ahead), max(options.segmentSize, end))
        if !isDrawing, target - end < room / 4, (try? current.file.allocate(from: current.allocated, to: target)) == true {
            current.allocated = target
            return
        }
        do throws(StoreError) {
            // Where allocation is not supported the write itself finds out.
            _ = try current.file.allocate(from: current.allocated, to: end)
            current.allocated = end
        } catch {
            throw error.whenDiskIsFull(needed: needed)
        }
    }

    /// Writes a record into its place, with no lock held.
    func write(
        _ header: RecordHeader, _ body: UnsafeRawBufferPointer, at place: Place, once: Bool
    ) throws(StoreError) {
        let encoded = header.encode(volume: volume, hash: hash)
        var failure: StoreError?
        encoded.withUnsafeBytes { encoded in
            do throws(StoreError) {
                try place.file.write(encoded, body, at: place.offset, once: once)
            } catch {
                failure = error
            }
        }
        if let failure {
            // The range stays a gap; the segment gets no more, the next put starts another.
            state.withLock { state in
                state.segments[place.segment]?.writers -= 1
                state.segments[place.segment]?.isClosed = true
            }
            throw failure.whenDiskIsFull(needed: header.span)
        }
        let (step, end) = (SegmentFile.writeback, place.offset + header.span)
        if end / step > place.offset / step {
            place.file.startWriteback(at: (end / step - 1) * step, length: step)
        }
    }
}

extension StoreError {
    /// "No space left on device" in the store's own words.
    func whenDiskIsFull(needed: UInt64) -> StoreError {
        guard case .system(_, let path, let errno) = self, errno == .noSpace || errno.rawValue == EDQUOT else {
            return self
        }
        return .full(.fileSystem, needed: needed, available: 0, path: path)
    }
}
