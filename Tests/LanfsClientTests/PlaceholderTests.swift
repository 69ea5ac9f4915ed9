import Testing
@testable import LanfsClient
@Test func placeholder() { #expect(1 + 1 == 2) }
