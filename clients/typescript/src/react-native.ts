// What React Native has of its own: the state of the app, its network, its storages, its emulator.
