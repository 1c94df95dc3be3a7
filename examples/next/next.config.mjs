export default {
  // The hub and its native addons stay outside the bundle.
  serverExternalPackages: ['runcast'],
  // The hub's page has an address that ends in a slash.
  skipTrailingSlashRedirect: true,
}
