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
    /// Counts the bytes against quota and capacity before anything is written; makes room from quarantine if it must.
    func claim(_ span: UInt64) throws(StoreError) {
        while true {
            let left: UInt64? = state.withLock { state in
                let left = state.quota - min(state.quota, state.usedBytes)
                guard span <= left else { return left }
                state.usedBytes += span
                return nil
            }
            if let left {
                guard reclaimEarly(span) > 0 else {
                    throw .full(.quota, needed: span, available: left, path: folder)
                }
                continue
            }
            if space.claim(span) { return }
            state.withLock { $0.usedBytes -= span }
            guard makeRoom(span) else {
                throw .full(
                    .capacity, needed: span, available: space.capacity - min(space.capacity, space.used), path: folder)
            }
        }
    }

    func count(_ span: UInt64) {
        state.withLock { $0.usedBytes += span }
        space.count(span)
    }

    func release(_ span: UInt64) {
        state.withLock { $0.usedBytes -= span }
        space.release(span)
    }

    /// Reclaims quarantined blocks early, this volume's first; false when there are none left.
    func makeRoom(_ bytes: UInt64) -> Bool {
        reclaimEarly(bytes) > 0 || space.relieve(bytes) > 0
    }

    /// Reserves a range for one record: the only moment at which puts wait for each other.
    func reserve(_ span: UInt64) throws(StoreError) -> Place {
        while true {
            do throws(StoreError) {
                return try tail.withLock { (tail) throws(StoreError) in try reserve(span, in: &tail) }
            } catch {
                guard case .full(.fileSystem, _, _, _) = error, makeRoom(span) else { throw error }
            }
        }
    }

    private func reserve(_ span: UInt64, in tail: inout Tail) throws(StoreError) -> Place {
        var closedAnother = false
        if let current = tail.current,
            current.next + span > options.segmentSize
                || state.withLock({ $0.segments[current.segment]?.isClosed != false })
        {
            close(current)
            tail.current = nil
            closedAnother = true
        }
        if tail.current == nil { tail.current = try createSegment(firstSpan: span) }
        guard var current = tail.current else { throw .closed(path: folder) }
        let end = current.next + span
        if end > current.allocated { try allocate(&current, to: end) }
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

    private func createSegment(firstSpan: UInt64) throws(StoreError) -> Tail.Current {
        let needed = Layout.page + firstSpan
        let room = space.fileSystemRoom()
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
    private func allocate(_ current: inout Tail.Current, to end: UInt64) throws(StoreError) {
        let ahead = min(max(end / 2, SegmentFile.allocation.lowerBound), SegmentFile.allocation.upperBound)
        let needed = end - max(current.allocated, current.next)
        let room = space.fileSystemRoom()
        guard needed <= room else { throw .full(.fileSystem, needed: needed, available: room, path: folder) }
        let target = min(Layout.roundUp(end + ahead), max(options.segmentSize, end))
        if target - end < room / 4, (try? current.file.allocate(from: current.allocated, to: target)) == true {
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
    func write(_ header: RecordHeader, _ body: UnsafeRawBufferPointer, at place: Place) throws(StoreError) {
        let encoded = header.encode(volume: volume, hash: hash)
        var failure: StoreError?
        encoded.withUnsafeBytes { encoded in
            do throws(StoreError) {
                try place.file.write(encoded, body, at: place.offset)
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
