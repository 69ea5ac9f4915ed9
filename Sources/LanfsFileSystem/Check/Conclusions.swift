import LanfsProtocol

// What can only be said once every record was seen.
extension Survey {
    mutating func conclude() {
        concludeAttribute()
        for inode in inodes {
            guard let record = records[inode] else { continue }
            concludeLinks(record)
            concludeContents(record)
        }
        concludeTree()
        concludeLeftovers()
        concludeUsage()
        concludeSuperblock()
    }

    private mutating func concludeLinks(_ record: InodeRecord) {
        let inode = record.attributes.inode
        let key = RecordKey.inode(inode)
        let names = names[inode] ?? 0
        let links = record.attributes.linkCount
        if links == 0, orphans[inode] != 1 { report(key, "has no name and \(orphans[inode] ?? 0) orphan keys") }
        guard record.attributes.type == .directory else {
            if links != names { report(key, "has \(links) links and \(names) names") }
            return
        }
        let expected = inode == rootInode ? 0 : links == 0 ? 0 : 1
        if names != expected { report(key, "is a directory with \(names) names") }
        let subdirectories = subdirectories[inode]?.count ?? 0
        if links != 0, links != 2 + subdirectories {
            report(key, "has \(links) links and \(subdirectories) subdirectories")
        }
        let entries = entries[inode] ?? 0
        if record.attributes.size != entries {
            report(key, "says \(record.attributes.size) entries and has \(entries)")
        }
    }

    private mutating func concludeContents(_ record: InodeRecord) {
        let inode = record.attributes.inode
        if record.attributes.type == .regular {
            let found = (allocated[inode] ?? 0) + UInt64(record.inline.count)
            if found != record.attributes.allocated {
                report(.inode(inode), "says \(record.attributes.allocated) bytes allocated and has \(found)")
            }
        }
        let names = attributeNames[inode] ?? 0
        if names != record.attributeNames {
            report(.inode(inode), "says \(record.attributeNames) bytes of attribute names and has \(names)")
        }
    }

    /// Every directory with a name must be found from the root; the rest are loops.
    private mutating func concludeTree() {
        guard let root = records[rootInode], root.attributes.type == .directory, root.parent == rootInode else {
            report(.inode(rootInode), "is no root directory")
            return
        }
        var reached: Set<InodeNumber> = [rootInode]
        var open = [rootInode]
        while let directory = open.popLast() {
            for child in subdirectories[directory] ?? [] where reached.insert(child).inserted { open.append(child) }
        }
        for inode in inodes where !reached.contains(inode) {
            guard let record = records[inode], record.attributes.type == .directory else { continue }
            if record.attributes.linkCount > 0 { report(.inode(inode), "is a directory out of the root's reach") }
        }
    }

    private mutating func concludeLeftovers() {
        let promised = Set(trims.map(\.inode))
        var reported: Set<Leftover> = []
        for leftover in leftovers where reported.insert(leftover).inserted {
            if let generation = leftover.generation {
                guard !trims.contains(leftover) else { continue }
                report(
                    .trim(leftover.inode, generation: generation),
                    "is missing: runs that belong to no file, and nothing removes them")
            } else if !promised.contains(leftover.inode) {
                report(.inode(leftover.inode), "is gone, its extended attributes are not and nothing removes them")
            }
        }
    }

    private mutating func concludeUsage() {
        for (block, usage) in usages {
            let found = live.removeValue(forKey: block) ?? 0
            if found != usage.live { report(.usage(block), "says \(usage.live) bytes live and has \(found)") }
        }
        for block in live.keys.sorted() where live[block] != 0 {
            report(.usage(block), "is missing: \(live[block] ?? 0) bytes are live")
        }
    }

    private mutating func concludeSuperblock() {
        guard let superblock else {
            report(.superblock, "is missing")
            return
        }
        if superblock.files != UInt64(inodes.count) {
            report(.superblock, "says \(superblock.files) files and there are \(inodes.count)")
        }
        let bytes = inodes.reduce(UInt64(0)) { $0 &+ (records[$1]?.attributes.allocated ?? 0) }
        if superblock.bytes != bytes { report(.superblock, "says \(superblock.bytes) bytes and there are \(bytes)") }
        if let last = inodes.last, last >= superblock.nextInode {
            report(.superblock, "inode \(last) was never handed out")
        }
    }
}
