import LanfsFileSystem
import LanfsProtocol
import SystemPackage

extension Volume {
    /// fallocate(2): nothing is reserved (blocks are made when data comes), but sizes, holes and zeros are exact.
    public func allocate(
        _ handle: Handle, mode: Int32, offset: UInt64, length: UInt64, by caller: Caller
    ) -> Outcome<Void> {
        let keepsSize = mode & KernelConstant.keepSize != 0
        let kind = mode & ~KernelConstant.keepSize
        guard kind == 0 || kind == KernelConstant.zeroRange || kind == KernelConstant.punchHole && keepsSize else {
            return .failed(.notSupported)
        }
        let (end, overflow) = offset.addingReportingOverflow(length)
        guard length > 0 else { return .failed(.invalidArgument) }
        guard !overflow, end <= UInt64(Int64.max) else { return .failed(.fileTooLarge) }
        return perform { (state) throws(Pause) in
            guard let file = state.handles.files[handle], file.flags.contains(.write) else {
                throw .failed(.badFileDescriptor)
            }
            try state.requireWritable()
            if kind != 0 { try state.clear(offset..<end, of: file.inode, by: caller) }
            let size = try state.read { (transaction) throws(Interruption) in
                try transaction.attributes(of: file.inode).size
            }
            // Also where the file is as large already: its times move, and set-user-id goes.
            var changes = AttributeChanges()
            changes.size = keepsSize ? size : max(size, end)
            _ = try state.setAttributes(of: file.inode, to: changes, by: caller)
        }
    }

    public func seek(_ handle: Handle, offset: UInt64, whence: Int32) -> Outcome<UInt64> {
        perform { (state) throws(Pause) in
            guard let file = state.handles.files[handle] else { throw .failed(.badFileDescriptor) }
            switch whence {
            case KernelConstant.seekData: return try state.nextData(in: file.inode, from: offset)
            case KernelConstant.seekHole: return try state.nextHole(in: file.inode, from: offset)
            default: throw .failed(.invalidArgument)
            }
        }
    }
}

extension VolumeState {
    /// Makes a range read as zeros: whole chunks become holes, the edges are written. The size stays.
    fileprivate mutating func clear(
        _ range: Range<UInt64>, of inode: InodeNumber, by caller: Caller
    ) throws(Pause) {
        let size = try read { (transaction) throws(Interruption) in try transaction.attributes(of: inode).size }
        let end = min(range.upperBound, size)
        guard range.lowerBound < end else { return }
        // The last chunk counts as whole when the file ends in it.
        let firstWhole = (range.lowerBound + Self.chunkSize - 1) / Self.chunkSize
        let endWhole = end == size ? (end + Self.chunkSize - 1) / Self.chunkSize : end / Self.chunkSize
        let zeros = [UInt8](repeating: 0, count: Limits.chunkSize)
        let head = range.lowerBound..<min(end, firstWhole * Self.chunkSize)
        let tail = max(head.upperBound, endWhole * Self.chunkSize)..<max(end, max(head.upperBound, endWhole * Self.chunkSize))
        for edge in [head, tail] where edge.lowerBound < edge.upperBound {
            var outcome: Result<Void, Pause> = .success(())
            zeros.withUnsafeBytes { zeros in
                outcome = Result { () throws(Pause) in
                    try write(
                        UnsafeRawBufferPointer(rebasing: zeros[..<edge.count]), to: inode, offset: edge.lowerBound,
                        by: caller)
                }
            }
            try outcome.get()
        }
        guard firstWhole < endWhole else { return }
        var isComplete = false
        while !isComplete {
            let before = try versionBefore(changing: inode)
            isComplete = try execute(by: caller, before: before) { (transaction) throws(Interruption) in
                let chunks = firstWhole..<endWhole
                return (try transaction.punch(chunks, of: inode, by: caller), .punch(inode, chunks))
            }
        }
        discardDirty(of: inode, chunks: firstWhole..<endWhole)
    }

    /// Unsaved chunks count as data.
    func nextData(in inode: InodeNumber, from offset: UInt64) throws(Pause) -> UInt64 {
        let size = try read { (transaction) throws(Interruption) in try transaction.attributes(of: inode).size }
        guard offset < size else { throw .failed(.noSuchAddressOrDevice) }
        let chunks = offset / Self.chunkSize...(size - 1) / Self.chunkSize
        let unsaved = dirty[inode]?.first(in: chunks).map { max(offset, $0 * Self.chunkSize) }
        do throws(Pause) {
            let stored = try read { (transaction) throws(Interruption) in try transaction.seekData(inode, from: offset) }
            return min(stored, unsaved ?? stored)
        } catch .failed(.noSuchAddressOrDevice) {
            guard let unsaved else { throw .failed(.noSuchAddressOrDevice) }
            return unsaved
        }
    }

    fileprivate func nextHole(in inode: InodeNumber, from offset: UInt64) throws(Pause) -> UInt64 {
        let size = try read { (transaction) throws(Interruption) in try transaction.attributes(of: inode).size }
        guard offset < size else { throw .failed(.noSuchAddressOrDevice) }
        var position = offset
        while position < size {
            if dirty[inode]?[position / Self.chunkSize] == nil {
                let start = position
                let hole = try read { (transaction) throws(Interruption) in try transaction.seekHole(inode, from: start) }
                if hole >= size || dirty[inode]?[hole / Self.chunkSize] == nil { return min(hole, size) }
                position = hole
            }
            position = (position / Self.chunkSize + 1) * Self.chunkSize
        }
        return size
    }
}
