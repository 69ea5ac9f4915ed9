import Testing
@testable import LanfsFileSystem
@Test func placeholder() { #expect(1 + 1 == 2) }
